//! The lanes that exist, by place and by id. The table does not decide which of them may run.

use crate::slab::{NONE, Queue};
use buslane_core::shrunk_capacity;
use hashbrown::HashTable;
use std::ops::{Index, IndexMut};

/// The capacity that shrinking always leaves.
const LEAST: usize = 1_024;

/// Whether a lane belongs to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaneKind {
    /// It does: its state is kept for a while after its last message.
    #[default]
    Keyed,
    /// It is the lane of one message without a key, and is removed with that message.
    Keyless,
}

/// What a lane does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LanePhase {
    /// In the ready list.
    Ready,
    /// One worker has it.
    Taken,
    /// It waits for a retry.
    Deferred { blocked: bool },
    /// It has had no message since this step of time.
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
    pub(super) phase: LanePhase,
    /// How often its first message has failed.
    pub(super) failures: u32,
    /// Whether its messages are charged to the failing account.
    pub(super) charged_failing: bool,
    /// The number of its last deferral, which tells the timer of that one from earlier ones.
    pub(super) deferred_as: u64,
    /// The lane behind this one in the ready list, the idle list or the free list.
    pub(super) next: u32,
    /// The lane before this one in the idle list.
    pub(super) before: u32,
}

impl Lane {
    pub(super) const fn open(&self) -> usize {
        self.queue.len() + self.taken as usize
    }
}

/// All lanes. Places of removed lanes are used again.
pub(super) struct LaneTable {
    lanes: Vec<Lane>,
    free: u32,
    by_id: HashTable<u32>,
    /// The number of keyed lanes.
    keyed: usize,
}

impl LaneTable {
    pub(super) const fn new() -> Self {
        Self { lanes: Vec::new(), free: NONE, by_id: HashTable::new(), keyed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The number of keyed lanes.
    pub(super) const fn keyed(&self) -> usize {
        self.keyed
    }

    pub(super) fn places(&self) -> Vec<u32> {
        self.by_id.iter().copied().collect()
    }

    pub(super) fn find(&self, id: u64) -> Option<u32> {
        self.by_id.find(spread(id), |at| self[*at].id == id).copied()
    }

    /// Adds an empty lane that is charged with `bytes`. No lane may have this id yet.
    pub(super) fn add(&mut self, id: u64, kind: LaneKind, bytes: usize) -> u32 {
        let lane = Lane {
            id,
            kind,
            queue: Queue::EMPTY,
            taken: 0,
            bytes,
            phase: LanePhase::Taken,
            failures: 0,
            charged_failing: false,
            deferred_as: 0,
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
        lane.phase = LanePhase::Taken;
        lane.next = free;
        self.keyed -= usize::from(lane.kind == LaneKind::Keyed);
    }

    /// When there is no lane, frees half of the capacity if little of it was used since the last
    /// call. Returns whether all places have become invalid.
    pub(super) fn shrink(&mut self) -> bool {
        let is_large = self.len() == 0 && self.lanes.capacity() > LEAST;
        if is_large {
            let room = LEAST.max(shrunk_capacity(self.lanes.capacity(), self.lanes.len()));
            self.lanes.clear();
            self.lanes.shrink_to(room);
            self.free = NONE;
            // The table is empty, so the hash function is not called.
            self.by_id.shrink_to(room, |_| 0);
        }
        is_large
    }
}

impl Index<u32> for LaneTable {
    type Output = Lane;
    fn index(&self, at: u32) -> &Lane {
        &self.lanes[at as usize]
    }
}

impl IndexMut<u32> for LaneTable {
    fn index_mut(&mut self, at: u32) -> &mut Lane {
        &mut self.lanes[at as usize]
    }
}

/// Spreads the small numbers that lane ids are in fixed-slot mode; otherwise they are good hashes.
const fn spread(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::{LEAST, LaneKind, LaneTable};

    #[test]
    fn t5_what_a_burst_needed_goes_by_halves() {
        let mut table = LaneTable::new();
        for lanes in [20_000, 1, 1, 1, 1, 1, 1] {
            for id in 0..lanes {
                table.add(id, LaneKind::Keyless, 0);
            }
            let room = table.lanes.capacity();
            for at in table.places() {
                table.remove(at);
                table.shrink();
            }
            let is_burst = lanes > 1;
            assert_eq!(table.lanes.capacity(), if is_burst { room } else { LEAST.max(room / 2) });
        }
        assert_eq!(table.lanes.capacity(), LEAST);
        assert!(table.by_id.capacity() <= 2 * LEAST, "room for {}", table.by_id.capacity());
    }
}
