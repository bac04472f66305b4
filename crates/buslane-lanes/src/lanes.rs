//! The lanes themselves: which message may run next. Pure: no clock, no lock, no thread.
//!
//! A lane exists while it has open messages, so idle keys cost nothing. It is in exactly one state:
//!
//! ```text
//!            admit                take                 finish, nothing queued
//!  (none) ──────────▶ ready ──────────────▶ taken ──────────────────────────▶ (none)
//!                       ▲   finish, queued   │ │
//!                       └────────────────────┘ │ park
//!                       └──────── parked ◀─────┘
//!                          wake_due
//! ```
//!
//! Who takes a lane has it alone until everything taken is finished, given back or parked: that is "one at a time".
//! Messages leave a lane from the front and come back to the front: that is "in order".

use crate::bounds::{Account, Bounds, Refusal};
use crate::slab::{NONE, Queue, Slab};
use hashbrown::HashTable;
use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// A taken lane, by its place. Valid until everything taken from it is finished or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRef(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Taken,
    Parked { blocked: bool },
}

struct Lane {
    id: u64,
    queue: Queue,
    /// Messages taken and not finished.
    taken: u32,
    /// Bytes of all open messages.
    bytes: usize,
    state: State,
    /// Whether its messages are charged to the parked account.
    charged_parked: bool,
    /// Tells a timer that was set for an earlier parking from the present one.
    parked_as: u64,
    /// The lane behind this one in the ready list, or in the free list.
    next: u32,
}

impl Lane {
    const fn open(&self) -> usize {
        self.queue.len() + self.taken as usize
    }
}

/// Figures of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneStats {
    /// Messages admitted and not finished.
    pub open: usize,
    /// Their bytes.
    pub open_bytes: usize,
    /// Of these, messages charged to the parked account.
    pub parked: usize,
    /// Lanes that exist.
    pub lanes: usize,
    /// Lanes that can run.
    pub ready: usize,
    /// Lanes that wait for a retry.
    pub parked_lanes: usize,
    /// Of these, lanes whose key is blocked.
    pub blocked_lanes: usize,
}

/// Per-key queues with bounds, a ready list and a timer list.
pub struct Lanes<T> {
    items: Slab<T>,
    lanes: Vec<Lane>,
    free: u32,
    by_id: HashTable<u32>,
    ready_head: u32,
    ready_tail: u32,
    ready: usize,
    runnable: Account,
    parked: Account,
    lane_messages: usize,
    timers: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    parkings: u64,
    parked_lanes: usize,
    blocked_lanes: usize,
}

impl<T> Lanes<T> {
    /// No lanes yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            items: Slab::new(),
            lanes: Vec::new(),
            free: NONE,
            by_id: HashTable::new(),
            ready_head: NONE,
            ready_tail: NONE,
            ready: 0,
            runnable: Account::new(bounds.messages, bounds.bytes),
            parked: Account::new(bounds.parked_messages, bounds.parked_bytes),
            lane_messages: bounds.lane_messages,
            timers: BinaryHeap::new(),
            parkings: 0,
            parked_lanes: 0,
            blocked_lanes: 0,
        }
    }

    /// Puts a message of `bytes` behind the others of lane `id`; `item` is called only when there is room.
    /// Returns whether the lane has become ready by it.
    ///
    /// # Errors
    /// The bound that has no room.
    pub fn admit(&mut self, id: u64, bytes: usize, item: impl FnOnce() -> T) -> Result<bool, Refusal> {
        let known = self.find(id);
        let charged_parked = known.is_some_and(|at| self.lanes[at as usize].charged_parked);
        if known.is_some_and(|at| self.lanes[at as usize].open() >= self.lane_messages) {
            return Err(Refusal::LaneFull);
        }
        let (account, refusal) =
            if charged_parked { (&mut self.parked, Refusal::ParkedFull) } else { (&mut self.runnable, Refusal::Full) };
        if !account.fits(1, bytes) {
            return Err(refusal);
        }
        account.charge(1, bytes);
        let at = known.unwrap_or_else(|| self.add_lane(id));
        let lane = &mut self.lanes[at as usize];
        lane.bytes += bytes;
        self.items.push_back(&mut lane.queue, item());
        if known.is_none() {
            self.push_ready(at, false);
        }
        Ok(known.is_none())
    }

    /// Takes the lane that has been ready longest and hands up to `quantum` of its messages to `each`, in order.
    pub fn take(&mut self, quantum: usize, mut each: impl FnMut(LaneRef, T)) -> bool {
        if self.ready_head == NONE {
            return false;
        }
        let at = self.ready_head;
        let lane = &mut self.lanes[at as usize];
        self.ready_head = lane.next;
        if self.ready_head == NONE {
            self.ready_tail = NONE;
        }
        self.ready -= 1;
        lane.state = State::Taken;
        for _ in 0..quantum.max(1) {
            let Some(item) = self.items.pop_front(&mut lane.queue) else { break };
            lane.taken += 1;
            each(LaneRef(at), item);
        }
        true
    }

    /// Says that `messages` of a taken lane, of `bytes` together, have ended. When nothing of the lane is taken
    /// any more it becomes ready again, or goes.
    pub fn finish(&mut self, lane: LaneRef, messages: usize, bytes: usize) {
        let entry = &mut self.lanes[lane.0 as usize];
        entry.taken -= u32::try_from(messages).unwrap_or(entry.taken);
        entry.bytes -= bytes;
        if entry.charged_parked {
            self.parked.release(messages, bytes);
            // Its head got through, so the lane is healthy: back to the others, if they have room for it.
            let (open, bytes) = (entry.open(), entry.bytes);
            if self.runnable.fits(open, bytes) {
                entry.charged_parked = false;
                self.parked.release(open, bytes);
                self.runnable.charge(open, bytes);
            }
        } else {
            self.runnable.release(messages, bytes);
        }
        self.settle_state(lane.0, false);
    }

    /// Puts a taken message back to the front of its lane. Give back in reverse order what was taken in order.
    pub fn give_back(&mut self, lane: LaneRef, item: T) {
        let entry = &mut self.lanes[lane.0 as usize];
        self.items.push_front(&mut entry.queue, item);
        entry.taken -= 1;
        self.settle_state(lane.0, true);
    }

    /// Puts the last taken message of a lane back to its front and lets the lane wait until `until`. Its messages
    /// are charged to the parked account as long as that has room.
    ///
    /// # Panics
    /// In debug builds, when more than this one message of the lane is taken.
    pub fn park(&mut self, lane: LaneRef, item: T, until: Instant, blocked: bool) {
        let at = lane.0 as usize;
        let entry = &mut self.lanes[at];
        debug_assert_eq!(entry.taken, 1, "what was taken behind the failing message is given back first");
        self.items.push_front(&mut entry.queue, item);
        entry.taken = 0;
        entry.state = State::Parked { blocked };
        self.parkings += 1;
        entry.parked_as = self.parkings;
        let (open, bytes) = (entry.open(), entry.bytes);
        if !entry.charged_parked && self.parked.fits(open, bytes) {
            entry.charged_parked = true;
            self.runnable.release(open, bytes);
            self.parked.charge(open, bytes);
        }
        self.parked_lanes += 1;
        self.blocked_lanes += usize::from(blocked);
        self.timers.push(Reverse((until, self.parkings, lane.0)));
    }

    /// Makes the lanes ready whose time has come, and returns how many.
    pub fn wake_due(&mut self, now: Instant) -> usize {
        let mut woken = 0;
        while let Some(Reverse((until, parked_as, at))) = self.timers.peek().copied() {
            let current = self.is_parked_as(at, parked_as);
            if current && until > now {
                break;
            }
            self.timers.pop();
            if current {
                self.unpark(at);
                self.push_ready(at, false);
                woken += 1;
            }
        }
        woken
    }

    /// When the next parked lane is due.
    #[must_use]
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((until, parked_as, at))) = self.timers.peek().copied() {
            if self.is_parked_as(at, parked_as) {
                return Some(until);
            }
            self.timers.pop();
        }
        None
    }

    /// Removes the queued messages that `matches`, running ones not among them, and hands them to `each`.
    /// `bytes` weighs a message as it was admitted.
    pub fn purge(&mut self, matches: &dyn Fn(&T) -> bool, bytes: &dyn Fn(&T) -> usize, each: &mut dyn FnMut(T)) {
        // A lane that goes reuses its link, so the ready list is taken apart before and put together after.
        let ready = self.detach_ready();
        let places: Vec<u32> = self.by_id.iter().copied().collect();
        for at in places {
            self.purge_lane(at, matches, bytes, each);
        }
        for at in ready {
            if self.lanes[at as usize].open() > 0 {
                self.push_ready(at, false);
            }
        }
    }

    /// As [`Lanes::purge`], for everything that waits in parked lanes.
    pub fn purge_parked(&mut self, bytes: &dyn Fn(&T) -> usize, each: &mut dyn FnMut(T)) {
        let parked = |lane: &Lane| matches!(lane.state, State::Parked { .. });
        let places: Vec<u32> = self.by_id.iter().copied().filter(|at| parked(&self.lanes[*at as usize])).collect();
        for at in places {
            self.purge_lane(at, &|_| true, bytes, each);
        }
    }

    /// Lanes that can run.
    #[must_use]
    pub const fn ready(&self) -> usize {
        self.ready
    }

    /// Whether no message is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether a message of `bytes` for lane `id` would be admitted now.
    ///
    /// # Errors
    /// The bound that has no room.
    pub fn has_room(&self, id: u64, bytes: usize) -> Result<(), Refusal> {
        let lane = self.find(id).map(|at| &self.lanes[at as usize]);
        match lane {
            Some(lane) if lane.open() >= self.lane_messages => Err(Refusal::LaneFull),
            Some(lane) if lane.charged_parked => {
                if self.parked.fits(1, bytes) {
                    Ok(())
                } else {
                    Err(Refusal::ParkedFull)
                }
            }
            _ if self.runnable.fits(1, bytes) => Ok(()),
            _ => Err(Refusal::Full),
        }
    }

    /// Whether there is room for a few messages like this one. Waking a waiter for each message that ends would
    /// cost more than the message.
    #[must_use]
    pub fn has_headroom(&self, id: u64, bytes: usize) -> bool {
        let lane = self.find(id).map(|at| &self.lanes[at as usize]);
        let lane_room = lane.is_none_or(|lane| lane.open() + headroom(self.lane_messages, 32) <= self.lane_messages);
        let account = if lane.is_some_and(|lane| lane.charged_parked) { &self.parked } else { &self.runnable };
        lane_room && account.fits(headroom(account.max_messages(), 128), bytes)
    }

    /// Whether more than `messages` can run and there are lanes enough to keep `workers` busy for a while.
    #[must_use]
    pub const fn is_deep(&self, workers: usize, messages: usize) -> bool {
        self.runnable.messages > messages && self.ready > 2 * workers
    }

    /// Figures of the moment.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        LaneStats {
            open: self.runnable.messages + self.parked.messages,
            open_bytes: self.runnable.bytes + self.parked.bytes,
            parked: self.parked.messages,
            lanes: self.by_id.len(),
            ready: self.ready,
            parked_lanes: self.parked_lanes,
            blocked_lanes: self.blocked_lanes,
        }
    }

    fn purge_lane(
        &mut self,
        at: u32,
        matches: &dyn Fn(&T) -> bool,
        bytes: &dyn Fn(&T) -> usize,
        each: &mut dyn FnMut(T),
    ) {
        let lane = &mut self.lanes[at as usize];
        let (mut messages, mut total) = (0, 0);
        self.items.extract(&mut lane.queue, matches, |item| {
            messages += 1;
            total += bytes(&item);
            each(item);
        });
        lane.bytes -= total;
        if lane.charged_parked { &mut self.parked } else { &mut self.runnable }.release(messages, total);
        if lane.open() == 0 {
            if matches!(lane.state, State::Parked { .. }) {
                self.unpark(at);
            }
            self.remove_lane(at);
        }
    }

    fn detach_ready(&mut self) -> Vec<u32> {
        let mut at = std::mem::replace(&mut self.ready_head, NONE);
        self.ready_tail = NONE;
        self.ready = 0;
        let mut places = Vec::new();
        while at != NONE {
            places.push(at);
            at = self.lanes[at as usize].next;
        }
        places
    }

    fn settle_state(&mut self, at: u32, front: bool) {
        let lane = &self.lanes[at as usize];
        if lane.taken > 0 || lane.state != State::Taken {
            return;
        }
        if lane.queue.is_empty() { self.remove_lane(at) } else { self.push_ready(at, front) }
    }

    fn is_parked_as(&self, at: u32, parked_as: u64) -> bool {
        let lane = &self.lanes[at as usize];
        matches!(lane.state, State::Parked { .. }) && lane.parked_as == parked_as
    }

    fn unpark(&mut self, at: u32) {
        let lane = &mut self.lanes[at as usize];
        if let State::Parked { blocked } = lane.state {
            self.parked_lanes -= 1;
            self.blocked_lanes -= usize::from(blocked);
            lane.state = State::Taken;
        }
    }

    fn push_ready(&mut self, at: u32, front: bool) {
        let lane = &mut self.lanes[at as usize];
        lane.state = State::Ready;
        self.ready += 1;
        if front {
            lane.next = std::mem::replace(&mut self.ready_head, at);
            if self.ready_tail == NONE {
                self.ready_tail = at;
            }
            return;
        }
        lane.next = NONE;
        let tail = std::mem::replace(&mut self.ready_tail, at);
        if tail == NONE {
            self.ready_head = at;
        } else {
            self.lanes[tail as usize].next = at;
        }
    }

    fn find(&self, id: u64) -> Option<u32> {
        self.by_id.find(spread(id), |at| self.lanes[*at as usize].id == id).copied()
    }

    fn add_lane(&mut self, id: u64) -> u32 {
        let lane = Lane {
            id,
            queue: Queue::EMPTY,
            taken: 0,
            bytes: 0,
            state: State::Taken,
            charged_parked: false,
            parked_as: 0,
            next: NONE,
        };
        let at = if self.free == NONE {
            let at = u32::try_from(self.lanes.len()).unwrap_or(NONE);
            assert!(at != NONE, "a scheduler holds fewer than 2^32 - 1 lanes");
            self.lanes.push(lane);
            at
        } else {
            let at = self.free;
            self.free = std::mem::replace(&mut self.lanes[at as usize], lane).next;
            at
        };
        let lanes = &self.lanes;
        self.by_id.insert_unique(spread(id), at, |at| spread(lanes[*at as usize].id));
        at
    }

    fn remove_lane(&mut self, at: u32) {
        let id = self.lanes[at as usize].id;
        if let Ok(entry) = self.by_id.find_entry(spread(id), |other| *other == at) {
            entry.remove();
        }
        let lane = &mut self.lanes[at as usize];
        lane.state = State::Taken;
        lane.next = std::mem::replace(&mut self.free, at);
    }
}

const fn headroom(limit: usize, most: usize) -> usize {
    let eighth = limit / 8;
    if eighth == 0 {
        1
    } else if eighth > most {
        most
    } else {
        eighth
    }
}

/// Lane ids are good hashes, or small numbers in fixed-slot mode: the multiplication serves the latter.
const fn spread(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
