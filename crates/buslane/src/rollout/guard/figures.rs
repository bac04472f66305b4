//! What is counted on each side, and what that is worth between two looks. Pure counts: nobody is
//! asked here.

use buslane_core::{Latencies, PoolStats};
use std::time::Instant;

/// Figures of one side: counts since its start, or what came between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SideFigures {
    /// Attempts that have ended, in whatever way.
    pub(crate) attempts: u64,
    /// Of these, attempts that failed, panicked or are to be tried again.
    pub(crate) errors: u64,
    /// Messages that have ended.
    pub(crate) ended: u64,
    /// Restarts by a supervisor.
    pub(crate) restarts: u64,
    /// From accepted to outcome, for each message that has ended.
    pub(crate) latencies: Latencies,
}

impl From<(PoolStats, Latencies)> for SideFigures {
    fn from((stats, latencies): (PoolStats, Latencies)) -> Self {
        let errors = stats.failed + stats.panicked + stats.retried;
        Self {
            attempts: stats.ok + errors,
            errors,
            ended: stats.ok + stats.failed + stats.panicked,
            restarts: stats.restarts,
            latencies,
        }
    }
}

impl SideFigures {
    /// What came since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(earlier.attempts),
            errors: self.errors.saturating_sub(earlier.errors),
            ended: self.ended.saturating_sub(earlier.ended),
            restarts: self.restarts.saturating_sub(earlier.restarts),
            latencies: self.latencies.since(&earlier.latencies),
        }
    }

    /// Whether a count is lower than it was `earlier`, which counts of one pool never are.
    pub(super) fn went_back(&self, earlier: &Self) -> bool {
        self.attempts < earlier.attempts
            || self.errors < earlier.errors
            || self.ended < earlier.ended
            || self.restarts < earlier.restarts
    }

    /// Messages that tell something: the fewest of those with an outcome, a latency, an attempt.
    pub(super) fn messages(&self) -> u64 {
        self.ended.min(self.attempts).min(self.latencies.count())
    }
}

/// A look at both sides.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// When it was taken.
    pub(crate) at: Instant,
    /// The share of the keys that is on the actor side.
    pub(crate) percent: u8,
    /// Counts of the keyed side since its start.
    pub(crate) keyed: SideFigures,
    /// Counts of the actor side since its start.
    pub(crate) actor: SideFigures,
    /// Resident memory of the process; `None` where it cannot be read.
    pub(crate) resident_bytes: Option<u64>,
}

impl Sample {
    /// Whether a pool of either side began anew since `earlier`.
    pub(super) fn went_back(&self, earlier: &Self) -> bool {
        self.keyed.went_back(&earlier.keyed) || self.actor.went_back(&earlier.actor)
    }
}
