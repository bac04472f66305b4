//! What has happened, in numbers.

use crate::lanes::LaneStats;
use std::ops::AddAssign;

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its handler succeeded.
    Ok,
    /// Its handler failed for good.
    Failed,
    /// Its handler panicked.
    Panicked,
    /// It was dropped before it ended.
    Abandoned,
}

/// Counts of messages, since start or since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Taken in.
    pub accepted: u64,
    /// Ended well.
    pub ok: u64,
    /// Ended in a failure.
    pub failed: u64,
    /// Ended in a panic.
    pub panicked: u64,
    /// Dropped before they ended.
    pub abandoned: u64,
    /// Taken out for another scheduler to go on with.
    pub moved: u64,
    /// Attempts that are followed by another.
    pub retried: u64,
}

impl Counts {
    pub(crate) const ZERO: Self =
        Self { accepted: 0, ok: 0, failed: 0, panicked: 0, abandoned: 0, moved: 0, retried: 0 };

    /// Messages that have ended, one way or another.
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

/// Hears of changes, outside of every lock. For metrics: called once a batch, on the threads that
/// do the work.
pub trait Observer: Send + Sync + 'static {
    /// `change` has happened, and this is how the lanes stood then. Calls of several threads can
    /// overtake each other: the one with the highest `number` has the latest state.
    fn changed(&self, number: u64, change: Counts, lanes: LaneStats);
}

/// Hears nothing.
impl Observer for () {
    fn changed(&self, _: u64, _: Counts, _: LaneStats) {}
}
