//! The lanes themselves: which message may run next. Pure: no clock, no lock, no thread.
//!
//! A lane exists while it has open messages. The lane of a key is kept idle for a while after its
//! last message, and the number of idle lanes is bounded, so that keys which were busy once cost
//! nothing. A lane is in exactly one phase:
//!
//! ```text
//!            admit                take                 finish, nothing queued         sweep, too many
//!  (none) ──────────▶ ready ──────────────▶ taken ──────────────────────────▶ idle ──────────────────▶ (none)
//!                      ▲ ▲   finish, queued  │ │                                │
//!                      │ └───────────────────┘ │ defer                          │
//!                      │ └────── deferred ◀────┘                                │
//!                      │   wake_due                      admit                  │
//!                      └────────────────────────────────────────────────────────┘
//! ```
//!
//! A taken lane belongs to one worker until every taken message is finished, returned or deferred:
//! that is "one at a time". Messages leave a lane at its front and come back to its front: that is
//! "in order".

mod accounts;
mod lists;
mod removal;
mod table;

pub use table::LaneKind;

use crate::bounds::{Bounds, Refusal};
use crate::slab::Slab;
use accounts::Accounts;
use buslane_core::LaneState;
use lists::{Deferrals, IDLE_STEPS, Idle, Ready};
use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};
use table::{LanePhase, LaneTable};

/// The place of a taken lane. Valid until every message taken from it is finished or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRef(u32);

/// The numbers of lanes and messages at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneStats {
    /// Messages admitted and not finished.
    pub open: usize,
    /// Their bytes.
    pub open_bytes: usize,
    /// Of these, messages charged to the failing account.
    pub failing: usize,
    /// Lanes with open messages.
    pub lanes: usize,
    /// Lanes that are kept without a message.
    pub idle_lanes: usize,
    /// Lanes that can run.
    pub ready: usize,
    /// Lanes that wait for a retry.
    pub deferred_lanes: usize,
    /// Of these, lanes whose key is blocked.
    pub blocked_lanes: usize,
}

/// A message on its way from one scheduler to another, with the retry state of its lane.
#[derive(Debug)]
pub struct Moved<T> {
    /// The message.
    pub item: T,
    /// How often it has failed; zero unless it was the first of its lane.
    pub failures: u32,
    /// Its wait for the next attempt. A failed message without one is about to be tried again.
    pub deferred: Option<Deferred>,
}

/// The wait of a lane's first message for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deferred {
    /// The end of the wait.
    pub until: Instant,
    /// Whether the attempts of the message are used up.
    pub is_blocked: bool,
}

/// Per-key queues with bounds, a ready list and a timer list.
pub struct Lanes<T> {
    items: Slab<T>,
    table: LaneTable,
    ready: Ready,
    deferrals: Deferrals,
    idle: Idle,
    accounts: Accounts,
}

impl<T> Lanes<T> {
    /// Lanes without messages.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            items: Slab::new(),
            table: LaneTable::new(),
            ready: Ready::EMPTY,
            deferrals: Deferrals::new(),
            idle: Idle::new(bounds.keys, bounds.key_idle),
            accounts: Accounts::new(&bounds),
        }
    }

    /// Appends a message of `bytes` to lane `id`, which is created with this `kind` if it is new.
    /// `item` is called only when there is room. Returns whether the lane has become ready.
    ///
    /// # Errors
    /// The bound that is exhausted.
    pub fn admit(
        &mut self,
        id: u64,
        kind: LaneKind,
        bytes: usize,
        item: impl FnOnce() -> T,
    ) -> Result<bool, Refusal> {
        let active = self.active();
        let Some(at) = self.table.find(id) else {
            self.accounts.room(None, active, bytes)?;
            self.accounts.charge(None, bytes);
            self.begin(id, kind, bytes, item());
            return Ok(true);
        };
        let lane = &mut self.table[at];
        self.accounts.room(Some(lane), active, bytes)?;
        self.accounts.charge(Some(lane), bytes);
        self.items.push_back(&mut lane.queue, item());
        let was_idle = matches!(lane.phase, LanePhase::Idle { .. });
        if was_idle {
            self.idle.unlink(&mut self.table, at);
            self.ready.push_back(&mut self.table, at);
        }
        Ok(was_idle)
    }

    /// Creates a lane with one message.
    // Not inlined, so that the common case of a lane that exists stays short.
    #[inline(never)]
    fn begin(&mut self, id: u64, kind: LaneKind, bytes: usize, item: T) {
        let at = self.table.add(id, kind, bytes);
        self.items.push_back(&mut self.table[at].queue, item);
        self.ready.push_back(&mut self.table, at);
        self.evict_idle();
    }

    /// Takes the lane that has been ready longest, and passes up to `quantum` of its messages to
    /// `each`, in order. Returns `false` when no lane is ready.
    pub fn take(&mut self, quantum: usize, mut each: impl FnMut(LaneRef, T)) -> bool {
        let Some(at) = self.ready.pop(&mut self.table) else { return false };
        let lane = &mut self.table[at];
        for _ in 0..quantum.max(1) {
            let Some(item) = self.items.pop_front(&mut lane.queue) else { break };
            lane.taken += 1;
            each(LaneRef(at), item);
        }
        true
    }

    /// Records that `messages` of a taken lane, of `bytes` together, have ended. When none of its
    /// messages is taken any more, the lane becomes ready or idle.
    pub fn finish(&mut self, lane: LaneRef, messages: usize, bytes: usize) {
        let entry = &mut self.table[lane.0];
        entry.taken -= u32::try_from(messages).unwrap_or(entry.taken);
        entry.failures = 0;
        self.accounts.release(entry, messages, bytes);
        self.accounts.move_to_runnable(entry);
        self.settle_phase(lane.0, false);
    }

    /// Puts a taken message back to the front of its lane. Give messages back in reverse order.
    pub fn give_back(&mut self, lane: LaneRef, item: T) {
        let entry = &mut self.table[lane.0];
        self.items.push_front(&mut entry.queue, item);
        entry.taken -= 1;
        self.settle_phase(lane.0, true);
    }

    fn settle_phase(&mut self, at: u32, front: bool) {
        let lane = &self.table[at];
        if lane.taken > 0 || lane.phase != LanePhase::Taken {
            return;
        }
        if lane.queue.is_empty() {
            self.become_idle(at);
        } else if front {
            self.ready.push_front(&mut self.table, at);
        } else {
            self.ready.push_back(&mut self.table, at);
        }
    }

    /// Lanes that can run.
    #[must_use]
    pub const fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether no message is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.len() == self.idle.len()
    }

    /// Lanes with messages that do not wait for a retry.
    fn active(&self) -> usize {
        self.table.len() - self.idle.len() - self.deferrals.lanes
    }

    /// Limits the number of active lanes: at the limit, messages of further keys are refused.
    /// Deferred lanes do not count, so that failing keys cannot keep the others out.
    pub const fn limit_active(&mut self, lanes: usize) {
        self.accounts.most_active = lanes;
    }

    /// The state of a lane that has messages or is kept idle.
    #[must_use]
    pub fn lane(&self, id: u64) -> Option<LaneState> {
        let lane = &self.table[self.table.find(id)?];
        Some(LaneState {
            open: lane.open(),
            failures: lane.failures,
            is_waiting: matches!(lane.phase, LanePhase::Deferred { .. }),
            is_blocked: matches!(lane.phase, LanePhase::Deferred { blocked: true }),
        })
    }

    /// Messages charged to the runnable account.
    #[must_use]
    pub const fn runnable(&self) -> usize {
        self.accounts.runnable.messages
    }

    /// The numbers of lanes and messages.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        LaneStats {
            open: self.accounts.runnable.messages + self.accounts.failing.messages,
            open_bytes: self.accounts.runnable.bytes + self.accounts.failing.bytes,
            failing: self.accounts.failing.messages,
            lanes: self.table.len() - self.idle.len(),
            idle_lanes: self.idle.len(),
            ready: self.ready.len(),
            deferred_lanes: self.deferrals.lanes,
            blocked_lanes: self.deferrals.blocked,
        }
    }

    /// Whether a message of `bytes` for lane `id` would be admitted now.
    ///
    /// # Errors
    /// The bound that is exhausted.
    pub fn has_room(&self, id: u64, bytes: usize) -> Result<(), Refusal> {
        self.room(self.table.find(id), bytes)
    }

    /// Whether there is room to spare for a message of `bytes` in lane `id`. Waking a submitter for
    /// each message that ends would cost more than the message.
    #[must_use]
    pub fn has_headroom(&self, id: u64, bytes: usize) -> bool {
        let known = self.table.find(id);
        self.accounts.has_headroom(known.map(|at| &self.table[at]))
            && self.room(known, bytes).is_ok()
    }

    fn room(&self, known: Option<u32>, bytes: usize) -> Result<(), Refusal> {
        self.accounts.room(known.map(|at| &self.table[at]), self.active(), bytes)
    }

    /// Puts the last taken message of a lane back to its front, and defers the lane until `until`.
    /// Its messages are charged to the failing account as far as that has room.
    ///
    /// # Panics
    /// In debug builds, when more than this one message of the lane is taken.
    pub fn defer(&mut self, lane: LaneRef, item: T, until: Instant, blocked: bool) {
        let at = lane.0;
        let entry = &mut self.table[at];
        debug_assert_eq!(
            entry.taken, 1,
            "what was taken behind the failing message is given back first"
        );
        self.items.push_front(&mut entry.queue, item);
        entry.taken = 0;
        entry.failures = entry.failures.saturating_add(1);
        self.begin_deferral(at, until, blocked);
    }

    /// Defers a lane that no worker has and that is in no list.
    fn begin_deferral(&mut self, at: u32, until: Instant, blocked: bool) {
        /// Timers left behind that are not worth a clean-up.
        const STALE: usize = 64;
        let entry = &mut self.table[at];
        entry.phase = LanePhase::Deferred { blocked };
        self.deferrals.count += 1;
        entry.deferred_as = self.deferrals.count;
        self.accounts.move_to_failing(entry);
        self.deferrals.lanes += 1;
        self.deferrals.blocked += usize::from(blocked);
        self.deferrals.timers.push(Reverse((until, self.deferrals.count, at)));
        if self.deferrals.timers.len() > 2 * self.deferrals.lanes + STALE {
            let mut timers = std::mem::take(&mut self.deferrals.timers);
            timers.retain(|Reverse((_, deferred_as, at))| self.is_deferred_as(*at, *deferred_as));
            self.deferrals.timers = timers;
        }
    }

    /// Makes the deferred lanes ready that are due, and returns their number.
    pub fn wake_due(&mut self, now: Instant) -> usize {
        let mut woken = 0;
        while let Some((until, at)) = self.first_timer() {
            if until > now {
                break;
            }
            self.deferrals.timers.pop();
            self.end_deferral(at);
            self.ready.push_back(&mut self.table, at);
            woken += 1;
        }
        woken
    }

    /// When the next deferred lane is due.
    #[must_use]
    pub fn next_due(&mut self) -> Option<Instant> {
        self.first_timer().map(|(until, _)| until)
    }

    /// The first timer of a lane that is still deferred. Drops the timers left behind before it.
    fn first_timer(&mut self) -> Option<(Instant, u32)> {
        while let Some(Reverse((until, deferred_as, at))) = self.deferrals.timers.peek().copied() {
            if self.is_deferred_as(at, deferred_as) {
                return Some((until, at));
            }
            self.deferrals.timers.pop();
        }
        None
    }

    fn is_deferred_as(&self, at: u32, deferred_as: u64) -> bool {
        let lane = &self.table[at];
        matches!(lane.phase, LanePhase::Deferred { .. }) && lane.deferred_as == deferred_as
    }

    /// Takes a lane out of the deferred ones. Returns whether it was deferred.
    fn end_deferral(&mut self, at: u32) -> bool {
        let lane = &mut self.table[at];
        let LanePhase::Deferred { blocked } = lane.phase else { return false };
        self.deferrals.lanes -= 1;
        self.deferrals.blocked -= usize::from(blocked);
        lane.phase = LanePhase::Taken;
        true
    }

    /// Keeps an empty lane idle if it belongs to a key, and removes it otherwise.
    fn become_idle(&mut self, at: u32) {
        if self.table[at].kind == LaneKind::Keyless {
            self.drop_lane(at);
            return;
        }
        // An empty lane has nothing charged to either account.
        self.table[at].charged_failing = false;
        self.idle.push_back(&mut self.table, at);
        self.evict_idle();
    }

    /// Forgets the longest idle lanes while there are more keyed lanes than are kept.
    fn evict_idle(&mut self) {
        while self.table.keyed() > self.idle.most {
            let Some((at, _)) = self.idle.oldest(&self.table) else { return };
            self.forget(at);
        }
    }

    fn forget(&mut self, at: u32) {
        self.idle.unlink(&mut self.table, at);
        self.drop_lane(at);
    }

    /// Removes an empty lane that is in no list.
    // Not inlined, because the end of a message seldom comes here.
    #[inline(never)]
    fn drop_lane(&mut self, at: u32) {
        self.table.remove(at);
        if self.table.shrink() {
            // No lane is deferred, so every timer was left behind.
            self.deferrals.timers = BinaryHeap::new();
        }
    }

    /// Forgets the lanes that have been idle for as long as they are kept. Returns when to call it
    /// again; `None` while no lane is idle.
    pub fn sweep(&mut self, now: Instant) -> Option<Instant> {
        while self.idle.len() > 0 {
            let due = match self.idle.due {
                Some(due) => due,
                // `None` for a time that no clock will ever show.
                None => now.checked_add(self.idle.step_length)?,
            };
            self.idle.due = Some(due);
            if due > now {
                return Some(due);
            }
            self.idle.step = self.idle.step.wrapping_add(1);
            self.idle.due = due.checked_add(self.idle.step_length);
            while let Some((at, since)) = self.idle.oldest(&self.table)
                && self.idle.step.wrapping_sub(since) >= IDLE_STEPS
            {
                self.forget(at);
            }
        }
        self.idle.due = None;
        if self.table.len() == 0 {
            // Without a lane no place is in use: the memory of the busiest time is freed.
            (self.table, self.items) = (LaneTable::new(), Slab::new());
            self.deferrals.timers = BinaryHeap::new();
        }
        None
    }

    /// Whether lanes are idle and [`Lanes::sweep`] has not been asked for their time.
    #[must_use]
    pub const fn wants_sweep(&self) -> bool {
        self.idle.len() > 0 && self.idle.due.is_none()
    }

    /// Forgets every idle lane, and keeps no idle lane from now on.
    pub fn keep_none(&mut self) {
        self.idle.most = 0;
        self.evict_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneKind, Lanes};
    use crate::Bounds;
    use std::time::{Duration, Instant};

    #[test]
    fn t5_a_retry_that_was_taken_out_leaves_nothing_behind() {
        let (mut lanes, now) = (Lanes::new(Bounds::default()), Instant::now());
        for id in 0..3_000 {
            lanes.admit(id, LaneKind::Keyless, 0, || ()).unwrap();
        }
        let mut taken = Vec::new();
        while lanes.take(1, |lane, ()| taken.push(lane)) {}
        for lane in taken.drain(..) {
            lanes.defer(lane, (), now + Duration::from_secs(1), false);
        }
        lanes.purge(&|()| true, &|()| 0, &mut |()| ());
        for id in 0..3 {
            lanes.admit(id, LaneKind::Keyless, 0, || ()).unwrap();
            assert!(lanes.take(1, |lane, ()| taken.push(lane)));
            lanes.finish(taken.remove(0), 1, 0);
            assert_eq!((lanes.next_due(), lanes.wake_due(now + Duration::from_secs(2))), (None, 0));
        }
    }
}
