//! Which scheduler owns which slot.

use super::SlotCounts;

/// Hash slots: the unit in which keys change schedulers.
pub const SLOTS: usize = 1_024;

/// The slot of a key hash. Takes other bits than fixed lanes do, and spreads small numbers.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "ten bits")]
pub const fn slot_of(lane: u64) -> usize {
    (lane.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

/// Who owns a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Is(usize),
    /// It migrates.
    Changes,
}

/// The slots, and who should own them.
pub(super) struct Table {
    slots: Box<[Owner]>,
    boundary: usize,
    /// The scheduler that owns every slot.
    sole_owner: Option<usize>,
    closed: bool,
}

impl Table {
    pub(super) fn new(boundary: usize) -> Self {
        let mut table = Self {
            slots: vec![Owner::Changes; SLOTS].into(),
            boundary,
            sole_owner: None,
            closed: false,
        };
        for slot in 0..SLOTS {
            table.slots[slot] = Owner::Is(table.wanted(slot));
        }
        table.find_sole_owner();
        table
    }

    /// The scheduler that should own a slot.
    pub(super) const fn wanted(&self, slot: usize) -> usize {
        if slot < self.boundary { 1 } else { 0 }
    }

    pub(super) const fn set_boundary(&mut self, boundary: usize) {
        self.boundary = boundary;
    }

    pub(super) fn owner(&self, slot: usize) -> Owner {
        self.slots[slot]
    }

    pub(super) fn set(&mut self, slot: usize, owner: Owner) {
        self.slots[slot] = owner;
    }

    /// Looks for a scheduler that owns every slot. Call it when slots have changed.
    pub(super) fn find_sole_owner(&mut self) {
        self.sole_owner = (0..2).find(|it| self.slots.iter().all(|owner| *owner == Owner::Is(*it)));
    }

    pub(super) const fn sole_owner(&self) -> Option<usize> {
        self.sole_owner
    }

    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts::default();
        for owner in &self.slots {
            match owner {
                Owner::Is(owner) => counts.at[*owner] += 1,
                Owner::Changes => counts.moving += 1,
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
            (0..10_000).filter(|key| table.owner(slot_of(*key)) == Owner::Is(1)).collect()
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
