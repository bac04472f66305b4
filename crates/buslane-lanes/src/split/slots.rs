//! Which slot is where.

use super::SlotCounts;

/// Hash slots: the unit in which keys change sides.
pub const SLOTS: usize = 1_024;

/// The slot of a key hash. Takes other bits than fixed lanes do, and spreads small numbers.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "ten bits")]
pub const fn slot_of(lane: u64) -> usize {
    (lane.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    At(usize),
    Moving,
}

/// The slots, and where they belong.
pub(super) struct Table {
    slots: Box<[Place]>,
    boundary: usize,
    /// The side that has every slot.
    only: Option<usize>,
    closed: bool,
}

impl Table {
    pub(super) fn new(boundary: usize) -> Self {
        let mut table =
            Self { slots: vec![Place::Moving; SLOTS].into(), boundary, only: None, closed: false };
        for slot in 0..SLOTS {
            table.slots[slot] = Place::At(table.wanted(slot));
        }
        table.look();
        table
    }

    /// The side that a slot belongs to.
    pub(super) const fn wanted(&self, slot: usize) -> usize {
        if slot < self.boundary { 1 } else { 0 }
    }

    pub(super) const fn aim(&mut self, boundary: usize) {
        self.boundary = boundary;
    }

    pub(super) fn place(&self, slot: usize) -> Place {
        self.slots[slot]
    }

    pub(super) fn set(&mut self, slot: usize, place: Place) {
        self.slots[slot] = place;
    }

    /// Looks whether one side has every slot: to be called when slots have changed.
    pub(super) fn look(&mut self) {
        self.only = (0..2).find(|side| self.slots.iter().all(|place| *place == Place::At(*side)));
    }

    pub(super) const fn only(&self) -> Option<usize> {
        self.only
    }

    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts::default();
        for place in &self.slots {
            match place {
                Place::At(side) => counts.at[*side] += 1,
                Place::Moving => counts.moving += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_the_keys_of_a_part_are_among_those_of_a_larger_one() {
        let on = |boundary| -> Vec<u64> {
            let table = Table::new(boundary);
            (0..10_000).filter(|key| table.place(slot_of(*key)) == Place::At(1)).collect()
        };
        let (few, half, all) = (on(102), on(512), on(SLOTS));
        assert!(
            few.iter().all(|key| half.contains(key)) && all.len() == 10_000 && on(0).is_empty()
        );
        // Small numbers, which unordered messages have, are spread as well.
        assert!(
            (900..1_100).contains(&few.len()) && (4_900..5_100).contains(&half.len()),
            "{} {}",
            few.len(),
            half.len()
        );
    }

    #[test]
    fn s3_slots_are_stable() {
        assert_eq!([0, 1, 2, u64::MAX].map(slot_of), [0, 632, 241, 391]);
    }
}
