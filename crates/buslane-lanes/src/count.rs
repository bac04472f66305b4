//! Counts of messages by their ends, and the observer that receives them.

use crate::lanes::LaneStats;
use std::ops::AddAssign;

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The handler succeeded.
    Ok,
    /// The handler failed for good.
    Failed,
    /// The handler panicked.
    Panicked,
    /// The message was dropped before it had ended.
    Abandoned,
}

/// Counts of messages, since the start or since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages accepted.
    pub accepted: u64,
    /// Messages that succeeded.
    pub ok: u64,
    /// Messages that failed for good.
    pub failed: u64,
    /// Messages that panicked.
    pub panicked: u64,
    /// Messages dropped before they had ended.
    pub abandoned: u64,
    /// Messages that migrated to another scheduler.
    pub moved: u64,
    /// Attempts that are retried.
    pub retried: u64,
}

impl Counts {
    pub(crate) const ZERO: Self =
        Self { accepted: 0, ok: 0, failed: 0, panicked: 0, abandoned: 0, moved: 0, retried: 0 };

    /// Messages that have ended, in any way.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.ok + self.failed + self.panicked + self.abandoned
    }

    pub(crate) const fn add(&mut self, end: End, messages: u64) {
        match end {
            End::Ok => self.ok += messages,
            End::Failed => self.failed += messages,
            End::Panicked => self.panicked += messages,
            End::Abandoned => self.abandoned += messages,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.ok += other.ok;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.abandoned += other.abandoned;
        self.moved += other.moved;
        self.retried += other.retried;
    }
}

/// Observes changes, for metrics. Called once a batch, outside of every lock, on the threads that
/// do the work.
pub trait Observer: Send + Sync + 'static {
    /// Receives a `change`, and the state of the lanes after it. Calls of several threads can
    /// overtake each other: the call with the highest `number` has the latest state.
    fn changed(&self, number: u64, change: Counts, lanes: LaneStats);
}

/// Ignores every change.
impl Observer for () {
    fn changed(&self, _: u64, _: Counts, _: LaneStats) {}
}
