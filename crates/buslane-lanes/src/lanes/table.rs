//! The lanes that exist, by place and by id. Knows nothing of what may run.

use crate::slab::{NONE, Queue};
use hashbrown::HashTable;
use std::ops::{Index, IndexMut};

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
}

impl Table {
    pub(super) const fn new() -> Self {
        Self { lanes: Vec::new(), free: NONE, by_id: HashTable::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn places(&self) -> Vec<u32> {
        self.by_id.iter().copied().collect()
    }

    pub(super) fn find(&self, id: u64) -> Option<u32> {
        self.by_id.find(spread(id), |at| self[*at].id == id).copied()
    }

    /// Adds a lane of no messages that is charged with `bytes`. There must be none of this id.
    pub(super) fn add(&mut self, id: u64, bytes: usize) -> u32 {
        let lane = Lane {
            id,
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

/// Lane ids are good hashes, or small numbers in fixed-slot mode: the multiplication serves the latter.
const fn spread(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
