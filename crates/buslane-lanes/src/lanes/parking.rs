//! Lanes that wait for a retry, and the times at which they go on. The time is the caller's.

use super::{LaneRef, Lanes, table::State};
use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// When which parking of which lane ends. A parking that has ended otherwise leaves its timer
/// behind.
pub(super) struct Parking {
    timers: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    /// Parkings so far.
    count: u64,
    /// Lanes that are parked.
    pub(super) lanes: usize,
    /// Of these, lanes whose key is blocked.
    pub(super) blocked: usize,
}

/// Timers left behind that are not worth a clean-up.
const STALE: usize = 64;

impl Parking {
    pub(super) const fn new() -> Self {
        Self { timers: BinaryHeap::new(), count: 0, lanes: 0, blocked: 0 }
    }

    pub(super) fn timers(&self) -> impl Iterator<Item = &Reverse<(Instant, u64, u32)>> {
        self.timers.iter()
    }

    /// No lane is parked, so all of them were left behind.
    pub(super) fn forget_timers(&mut self) {
        self.timers = BinaryHeap::new();
    }
}

impl<T> Lanes<T> {
    /// Puts the last taken message of a lane back to its front and lets the lane wait until
    /// `until`. Its messages are charged to the parked account as long as that has room.
    ///
    /// # Panics
    /// In debug builds, when more than this one message of the lane is taken.
    pub fn park(&mut self, lane: LaneRef, item: T, until: Instant, blocked: bool) {
        let at = lane.0;
        let entry = &mut self.table[at];
        debug_assert_eq!(
            entry.taken, 1,
            "what was taken behind the failing message is given back first"
        );
        self.items.push_front(&mut entry.queue, item);
        entry.taken = 0;
        entry.failures = entry.failures.saturating_add(1);
        self.begin_parking(at, until, blocked);
    }

    /// Lets a lane that nobody has, and that is in no list, wait until `until`.
    pub(super) fn begin_parking(&mut self, at: u32, until: Instant, blocked: bool) {
        let entry = &mut self.table[at];
        entry.state = State::Parked { blocked };
        self.parking.count += 1;
        entry.parked_as = self.parking.count;
        self.charge_to_parked(at);
        self.parking.lanes += 1;
        self.parking.blocked += usize::from(blocked);
        self.parking.timers.push(Reverse((until, self.parking.count, at)));
        if self.parking.timers.len() > 2 * self.parking.lanes + STALE {
            let mut timers = std::mem::take(&mut self.parking.timers);
            timers.retain(|Reverse((_, parked_as, at))| self.is_parked_as(*at, *parked_as));
            self.parking.timers = timers;
        }
    }

    /// Makes the lanes ready whose time has come, and returns how many.
    pub fn wake_due(&mut self, now: Instant) -> usize {
        let mut woken = 0;
        while let Some((until, at)) = self.first_timer() {
            if until > now {
                break;
            }
            self.parking.timers.pop();
            self.unpark(at);
            self.ready.push_back(&mut self.table, at);
            woken += 1;
        }
        woken
    }

    /// When the next parked lane is due.
    #[must_use]
    pub fn next_due(&mut self) -> Option<Instant> {
        self.first_timer().map(|(until, _)| until)
    }

    /// The first timer of a lane that is still parked; drops those left behind before it.
    fn first_timer(&mut self) -> Option<(Instant, u32)> {
        while let Some(Reverse((until, parked_as, at))) = self.parking.timers.peek().copied() {
            if self.is_parked_as(at, parked_as) {
                return Some((until, at));
            }
            self.parking.timers.pop();
        }
        None
    }

    fn is_parked_as(&self, at: u32, parked_as: u64) -> bool {
        let lane = &self.table[at];
        matches!(lane.state, State::Parked { .. }) && lane.parked_as == parked_as
    }

    /// Returns whether the lane was parked.
    pub(super) fn unpark(&mut self, at: u32) -> bool {
        let lane = &mut self.table[at];
        let State::Parked { blocked } = lane.state else { return false };
        self.parking.lanes -= 1;
        self.parking.blocked -= usize::from(blocked);
        lane.state = State::Taken;
        true
    }
}
