//! The lanes that exist, by place and by id. Knows nothing of what may run.

use crate::slab::{NONE, Queue};
use buslane_core::room_after;
use hashbrown::HashTable;
use std::ops::{Index, IndexMut};

/// Places that are always kept.
const LEAST: usize = 1_024;

/// Whose lane it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaneKind {
    /// A key's: what is known of it is kept for a while when it has no message.
    #[default]
    Keyed,
    /// That of a message without a key: nobody comes back to it, so it goes with its last message.
    Keyless,
}

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// In the ready list.
    Ready,
    /// Someone has it alone.
    Taken,
    /// It waits for a time.
    Parked { blocked: bool },
    /// It has no message, since this step of time.
    Idle { since: u32 },
}

pub(super) struct Lane {
    id: u64,
    pub(super) kind: LaneKind,
    pub(super) queue: Queue,
    /// Messages taken and not finished.
    pub(super) taken: u32,
    /// Bytes of all open messages.
    pub(super) bytes: usize,
    pub(super) state: State,
    /// How often its head has failed and not got through since.
    pub(super) failures: u32,
    /// Whether its messages are charged to the parked account.
    pub(super) charged_parked: bool,
    /// Tells a timer that was set for an earlier parking from the present one.
    pub(super) parked_as: u64,
    /// The lane behind this one in the ready list, the list of idle ones or the free list.
    pub(super) next: u32,
    /// The lane before this one in the list of idle ones.
    pub(super) before: u32,
}

impl Lane {
    pub(super) const fn open(&self) -> usize {
        self.queue.len() + self.taken as usize
    }
}

/// All lanes. Places of lanes that went are used again.
pub(super) struct Table {
    lanes: Vec<Lane>,
    free: u32,
    by_id: HashTable<u32>,
    /// Lanes of keys.
    keyed: usize,
}

impl Table {
    pub(super) const fn new() -> Self {
        Self { lanes: Vec::new(), free: NONE, by_id: HashTable::new(), keyed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Lanes of keys.
    pub(super) const fn keyed(&self) -> usize {
        self.keyed
    }

    pub(super) fn places(&self) -> Vec<u32> {
        self.by_id.iter().copied().collect()
    }

    pub(super) fn find(&self, id: u64) -> Option<u32> {
        self.by_id.find(spread(id), |at| self[*at].id == id).copied()
    }

    /// Adds a lane of no messages that is charged with `bytes`. There must be none of this id.
    pub(super) fn add(&mut self, id: u64, kind: LaneKind, bytes: usize) -> u32 {
        let lane = Lane {
            id,
            kind,
            queue: Queue::EMPTY,
            taken: 0,
            bytes,
            state: State::Taken,
            failures: 0,
            charged_parked: false,
            parked_as: 0,
            next: NONE,
            before: NONE,
        };
        let at = if self.free == NONE {
            let at = u32::try_from(self.lanes.len()).unwrap_or(NONE);
            assert!(at != NONE, "a scheduler holds fewer than 2^32 - 1 lanes");
            self.lanes.push(lane);
            at
        } else {
            let at = self.free;
            self.free = std::mem::replace(&mut self[at], lane).next;
            at
        };
        self.keyed += usize::from(kind == LaneKind::Keyed);
        let lanes = &self.lanes;
        self.by_id.insert_unique(spread(id), at, |at| spread(lanes[*at as usize].id));
        at
    }

    pub(super) fn remove(&mut self, at: u32) {
        let id = self[at].id;
        if let Ok(entry) = self.by_id.find_entry(spread(id), |other| *other == at) {
            entry.remove();
        }
        let free = std::mem::replace(&mut self.free, at);
        let lane = &mut self[at];
        lane.state = State::Taken;
        lane.next = free;
        self.keyed -= usize::from(lane.kind == LaneKind::Keyed);
    }

    /// When there is no lane, half of the room goes if little of it was used since the last time.
    /// Returns whether there is no place any more that somebody may have known.
    pub(super) fn let_go(&mut self) -> bool {
        let is_large = self.len() == 0 && self.lanes.capacity() > LEAST;
        if is_large {
            let room = LEAST.max(room_after(self.lanes.capacity(), self.lanes.len()));
            self.lanes.clear();
            self.lanes.shrink_to(room);
            self.free = NONE;
            // There is none to be hashed again.
            self.by_id.shrink_to(room, |_| 0);
        }
        is_large
    }
}

impl Index<u32> for Table {
    type Output = Lane;
    fn index(&self, at: u32) -> &Lane {
        &self.lanes[at as usize]
    }
}

impl IndexMut<u32> for Table {
    fn index_mut(&mut self, at: u32) -> &mut Lane {
        &mut self.lanes[at as usize]
    }
}

/// Lane ids are good hashes, or small numbers in fixed-slot mode: the multiplication serves the
/// latter.
const fn spread(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::{LEAST, LaneKind, Table};

    #[test]
    fn t5_what_a_burst_needed_goes_by_halves() {
        let mut table = Table::new();
        for lanes in [20_000, 1, 1, 1, 1, 1, 1] {
            for id in 0..lanes {
                table.add(id, LaneKind::Keyless, 0);
            }
            let room = table.lanes.capacity();
            for at in table.places() {
                table.remove(at);
                table.let_go();
            }
            let is_burst = lanes > 1;
            assert_eq!(table.lanes.capacity(), if is_burst { room } else { LEAST.max(room / 2) });
        }
        assert_eq!(table.lanes.capacity(), LEAST);
        assert!(table.by_id.capacity() <= 2 * LEAST, "room for {}", table.by_id.capacity());
    }
}
