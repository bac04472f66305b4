//! The lists that lanes stand in: ready, idle and deferred. The first two are linked through the
//! lanes, so that a lane enters and leaves them without an allocation.

use super::table::{LanePhase, LaneTable};
use crate::slab::NONE;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

/// The lanes that can run, in the order in which they became ready.
pub(super) struct Ready {
    head: u32,
    tail: u32,
    len: usize,
}

impl Ready {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0 };

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, table: &mut LaneTable, at: u32) {
        let lane = &mut table[at];
        lane.phase = LanePhase::Ready;
        lane.next = NONE;
        let tail = std::mem::replace(&mut self.tail, at);
        if tail == NONE {
            self.head = at;
        } else {
            table[tail].next = at;
        }
        self.len += 1;
    }

    pub(super) fn push_front(&mut self, table: &mut LaneTable, at: u32) {
        let lane = &mut table[at];
        lane.phase = LanePhase::Ready;
        lane.next = std::mem::replace(&mut self.head, at);
        if self.tail == NONE {
            self.tail = at;
        }
        self.len += 1;
    }

    /// Takes the first lane.
    pub(super) fn pop(&mut self, table: &mut LaneTable) -> Option<u32> {
        if self.head == NONE {
            return None;
        }
        let at = self.head;
        let lane = &mut table[at];
        lane.phase = LanePhase::Taken;
        self.head = lane.next;
        if self.head == NONE {
            self.tail = NONE;
        }
        self.len -= 1;
        Some(at)
    }

    /// Empties the list before lanes in it are removed, because a removed lane reuses its link.
    pub(super) fn detach(&mut self, table: &LaneTable) -> Vec<u32> {
        let mut places = Vec::with_capacity(self.len);
        let mut at = std::mem::replace(self, Self::EMPTY).head;
        while at != NONE {
            places.push(at);
            at = table[at].next;
        }
        places
    }
}

/// The number of steps after which an idle lane is forgotten. The lane was idle for the last seven
/// of them and a part of the first.
pub(super) const IDLE_STEPS: u32 = 8;

/// The idle lanes, the longest idle first.
///
/// Time passes in steps, which [`Lanes::sweep`](super::Lanes::sweep) counts, so that the end of a
/// message needs no look at a clock.
pub(super) struct Idle {
    head: u32,
    tail: u32,
    len: usize,
    /// Keyed lanes, those with messages included, above which the longest idle one is forgotten.
    pub(super) most: usize,
    pub(super) step: u32,
    pub(super) step_length: Duration,
    /// When the present step ends; `None` while no step is counted.
    pub(super) due: Option<Instant>,
}

impl Idle {
    pub(super) const fn new(most: usize, time: Duration) -> Self {
        // The divisor is a constant above zero.
        let step_length = Duration::from_nanos_u128(time.as_nanos() / IDLE_STEPS as u128);
        Self { head: NONE, tail: NONE, len: 0, most, step: 0, step_length, due: None }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, table: &mut LaneTable, at: u32) {
        let tail = std::mem::replace(&mut self.tail, at);
        let lane = &mut table[at];
        lane.phase = LanePhase::Idle { since: self.step };
        (lane.before, lane.next) = (tail, NONE);
        if tail == NONE {
            self.head = at;
        } else {
            table[tail].next = at;
        }
        self.len += 1;
    }

    pub(super) fn unlink(&mut self, table: &mut LaneTable, at: u32) {
        let (before, next) = (table[at].before, table[at].next);
        match before {
            NONE => self.head = next,
            before => table[before].next = next,
        }
        match next {
            NONE => self.tail = before,
            next => table[next].before = before,
        }
        self.len -= 1;
    }

    /// The longest idle lane, and the step in which it became idle.
    pub(super) fn oldest(&self, table: &LaneTable) -> Option<(u32, u32)> {
        if self.head == NONE {
            return None;
        }
        match table[self.head].phase {
            LanePhase::Idle { since } => Some((self.head, since)),
            _ => None,
        }
    }
}

/// The deferred lanes, and the times at which they become ready again.
///
/// A lane that leaves the list early leaves its timer behind; the number of the deferral tells such
/// a timer from a valid one.
pub(super) struct Deferrals {
    /// Due time, number of the deferral, place of the lane.
    pub(super) timers: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    /// Deferrals so far.
    pub(super) count: u64,
    /// Lanes that are deferred.
    pub(super) lanes: usize,
    /// Of these, lanes whose key is blocked.
    pub(super) blocked: usize,
}

impl Deferrals {
    pub(super) const fn new() -> Self {
        Self { timers: BinaryHeap::new(), count: 0, lanes: 0, blocked: 0 }
    }
}
