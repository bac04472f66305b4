//! The lanes themselves: which message may run next. Pure: no clock, no lock, no thread.
//!
//! A lane with open messages exists; that of a key is kept for a while without any, and the number
//! of those is bounded, so keys that were busy once cost nothing. It is in exactly one state:
//!
//! ```text
//!            admit                take                 finish, nothing queued         sweep, too many
//!  (none) ──────────▶ ready ──────────────▶ taken ──────────────────────────▶ idle ──────────────────▶ (none)
//!                      ▲ ▲   finish, queued  │ │                                │
//!                      │ └───────────────────┘ │ park                           │
//!                      │ └─────── parked ◀─────┘                                │
//!                      │   wake_due                      admit                  │
//!                      └────────────────────────────────────────────────────────┘
//! ```
//!
//! A taken lane belongs to one worker until every taken message is finished, returned or parked:
//! that is "one at a time". Messages leave a lane from the front and come back to the front: that
//! is "in order".

mod idle;
mod parking;
mod ready;
mod removal;
mod room;
mod table;

use crate::bounds::{Account, Bounds, Refusal};
use crate::slab::Slab;
use buslane_core::LaneState;
use idle::Idle;
use parking::Parking;
use ready::Ready;
use std::time::Instant;
pub use table::LaneKind;
use table::{State, Table};

/// A taken lane, by its place. Valid until everything taken from it is finished or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRef(u32);

/// Figures of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneStats {
    /// Messages admitted and not finished.
    pub open: usize,
    /// Their bytes.
    pub open_bytes: usize,
    /// Of these, messages charged to the parked account.
    pub parked: usize,
    /// Lanes with open messages.
    pub lanes: usize,
    /// Lanes without one that are kept.
    pub idle_lanes: usize,
    /// Lanes that can run.
    pub ready: usize,
    /// Lanes that wait for a retry.
    pub parked_lanes: usize,
    /// Of these, lanes whose key is blocked.
    pub blocked_lanes: usize,
}

/// A message on its way from one set of lanes to another, with what its lane knew of it.
#[derive(Debug)]
pub struct Moved<T> {
    /// The message.
    pub item: T,
    /// How often it has failed, if it is the first of its lane; zero otherwise.
    pub failures: u32,
    /// How it waits for its next attempt, if it does. One that has failed and does not wait is
    /// about to be tried again.
    pub parked: Option<Parked>,
}

/// How the first message of a lane waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Until when.
    pub until: Instant,
    /// Whether its attempts are used up.
    pub is_blocked: bool,
}

/// Per-key queues with bounds, a ready list and a timer list.
pub struct Lanes<T> {
    items: Slab<T>,
    table: Table,
    ready: Ready,
    parking: Parking,
    idle: Idle,
    runnable: Account,
    parked: Account,
    lane_messages: usize,
    /// Active lanes at which no further one is begun.
    most_active: usize,
}

impl<T> Lanes<T> {
    /// No lanes yet.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            items: Slab::new(),
            table: Table::new(),
            ready: Ready::EMPTY,
            parking: Parking::new(),
            idle: Idle::new(bounds.keys, bounds.key_idle),
            runnable: Account::new(bounds.messages, bounds.bytes),
            parked: Account::new(bounds.parked_messages, bounds.parked_bytes),
            lane_messages: bounds.lane_messages,
            most_active: usize::MAX,
        }
    }

    /// Puts a message of `bytes` behind the others of lane `id`, a new one of this `kind` if there
    /// is none; `item` is called only when there is room. Returns whether the lane has become ready
    /// by it.
    ///
    /// # Errors
    /// The bound that has no room.
    pub fn admit(
        &mut self,
        id: u64,
        kind: LaneKind,
        bytes: usize,
        item: impl FnOnce() -> T,
    ) -> Result<bool, Refusal> {
        let known = self.table.find(id);
        self.charge(known, bytes)?;
        let Some(at) = known else {
            self.begin(id, kind, bytes, item());
            return Ok(true);
        };
        let rests = matches!(self.table[at].state, State::Idle { .. });
        self.items.push_back(&mut self.table[at].queue, item());
        if rests {
            self.idle.unlink(&mut self.table, at);
            self.ready.push_back(&mut self.table, at);
        }
        Ok(rests)
    }

    /// A new lane, of one message.
    // Apart from the usual way, which is of a lane that exists and is the shorter for it.
    #[inline(never)]
    fn begin(&mut self, id: u64, kind: LaneKind, bytes: usize, item: T) {
        let at = self.table.add(id, kind, bytes);
        self.items.push_back(&mut self.table[at].queue, item);
        self.ready.push_back(&mut self.table, at);
        self.make_room();
    }

    /// Takes the lane that has been ready longest and hands up to `quantum` of its messages to
    /// `each`, in order.
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

    /// Says that `messages` of a taken lane, of `bytes` together, have ended. When nothing of the
    /// lane is taken any more it becomes ready again, or idle.
    pub fn finish(&mut self, lane: LaneRef, messages: usize, bytes: usize) {
        let entry = &mut self.table[lane.0];
        entry.taken -= u32::try_from(messages).unwrap_or(entry.taken);
        entry.failures = 0;
        let charged_parked = entry.charged_parked;
        self.release(lane.0, messages, bytes);
        if charged_parked {
            self.charge_to_runnable(lane.0);
        }
        self.settle_state(lane.0, false);
    }

    /// Puts a taken message back to the front of its lane. Give back in reverse order what was
    /// taken in order.
    pub fn give_back(&mut self, lane: LaneRef, item: T) {
        let entry = &mut self.table[lane.0];
        self.items.push_front(&mut entry.queue, item);
        entry.taken -= 1;
        self.settle_state(lane.0, true);
    }

    fn settle_state(&mut self, at: u32, front: bool) {
        let lane = &self.table[at];
        if lane.taken > 0 || lane.state != State::Taken {
            return;
        }
        if lane.queue.is_empty() {
            self.rest(at);
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
        self.table.len() - self.idle.len() - self.parking.lanes
    }

    /// Begins no further lane while so many are active: messages of other keys are refused. Lanes
    /// that wait for a retry do not count, so that failing keys cannot keep the others out.
    pub const fn limit_active(&mut self, lanes: usize) {
        self.most_active = lanes;
    }

    /// What is known of a lane: one with messages, or an idle one that is kept.
    #[must_use]
    pub fn lane(&self, id: u64) -> Option<LaneState> {
        let lane = &self.table[self.table.find(id)?];
        Some(LaneState {
            open: lane.open(),
            failures: lane.failures,
            is_waiting: matches!(lane.state, State::Parked { .. }),
            is_blocked: matches!(lane.state, State::Parked { blocked: true }),
        })
    }

    /// Messages charged to the account of those that can run.
    #[must_use]
    pub const fn runnable(&self) -> usize {
        self.runnable.messages
    }

    /// Figures of the moment.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        LaneStats {
            open: self.runnable.messages + self.parked.messages,
            open_bytes: self.runnable.bytes + self.parked.bytes,
            parked: self.parked.messages,
            lanes: self.table.len() - self.idle.len(),
            idle_lanes: self.idle.len(),
            ready: self.ready.len(),
            parked_lanes: self.parking.lanes,
            blocked_lanes: self.parking.blocked,
        }
    }
}
