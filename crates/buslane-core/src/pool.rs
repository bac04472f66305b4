//! The contract of a pool: it answers where and in what order jobs run, and nothing else.
//!
//! A pool knows no topic, no broker and no retry policy. It keeps its promises in lanes: jobs of one lane run one
//! at a time and in the order of their submission, whatever the pool is made of.

use crate::Job;
use std::{collections::VecDeque, future::Future, pin::Pin, time::Duration};
use thiserror::Error;

/// A boxed future, for the calls of a contract that are not on the path of a message.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a pool did not take a job. The job stays at the front of the caller's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The job's lane holds as many jobs as a lane may.
    #[error("lane is full: {limit} messages of this key are open")]
    LaneFull {
        /// The lane's bound in messages.
        limit: usize,
    },
    /// The pool holds as many jobs, or bytes, as it may.
    #[error("pool is full: {messages} messages of {bytes} bytes are open")]
    PoolFull {
        /// Open messages.
        messages: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// What waits behind failing keys has used up its own bound, and this job belongs to such a key.
    #[error("{messages} messages wait behind failing keys, which is the bound")]
    ParkedFull {
        /// Messages that wait.
        messages: usize,
    },
    /// Neither the job nor the pool has a handler. The job will never be taken.
    #[error("no handler available for message")]
    NoHandler,
    /// No worker is left to run it, for the moment: see [`PoolStats::workers_down`].
    #[error("no worker of the pool is able to run: all are cooling down after panics")]
    NoWorker,
    /// The pool is stopping or has stopped.
    #[error("pool is stopped")]
    Stopped,
}

impl SubmitError {
    /// Whether the same job may be taken later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::LaneFull { .. } | Self::PoolFull { .. } | Self::ParkedFull { .. } | Self::NoWorker)
    }
}

/// A pool of lanes.
pub trait Pool: Send + Sync + 'static {
    /// `keyed` or `actor`: how metrics and logs call it.
    fn name(&self) -> &'static str;

    /// Takes jobs from the front of `batch` as long as there is room. Never waits.
    ///
    /// # Errors
    /// Why the job that is now at the front was not taken; those before it were.
    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError>;

    /// As [`Pool::try_submit`], waiting for room up to the pool's wait timeout.
    ///
    /// # Errors
    /// As [`Pool::try_submit`], after the wait where the error is temporary.
    ///
    /// # Cancel safety
    /// Cancelling leaves the jobs that were not taken in `batch`.
    fn submit<'a>(&'a self, batch: &'a mut VecDeque<Job>) -> BoxFuture<'a, Result<(), SubmitError>>;

    /// Drops every queued job that `matches`, which settles it as abandoned: those that wait for a retry too,
    /// running ones not. A running job that fails after its source has ended is abandoned instead of tried again.
    /// Returns how many were dropped. Walks through all queued jobs under the pool's lock.
    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize;

    /// Figures of this moment.
    fn stats(&self) -> PoolStats;

    /// Takes no more work, runs what is queued until `deadline` has passed, abandons the rest, and joins every
    /// worker. Jobs that wait for a retry are abandoned at once.
    ///
    /// Idempotent: later and concurrent calls wait for the first one and get its answer.
    ///
    /// # Cancel safety
    /// Once begun it goes on when the caller's future is dropped.
    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport>;
}

/// Figures of a pool. Counts since start; gauges of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Jobs taken.
    pub accepted: u64,
    /// Jobs that ended well.
    pub ok: u64,
    /// Jobs that ended in a failure.
    pub failed: u64,
    /// Jobs that ended in a panic.
    pub panicked: u64,
    /// Jobs dropped before they ended.
    pub abandoned: u64,
    /// Attempts that failed and are followed by another.
    pub retried: u64,
    /// Panics of handlers, of every attempt.
    pub panics: u64,
    /// Workers restarted by a supervisor.
    pub restarts: u64,
    /// Jobs taken and not ended.
    pub open: usize,
    /// Bytes of the open jobs.
    pub open_bytes: usize,
    /// Open jobs that wait behind a failing key.
    pub parked: usize,
    /// Lanes that wait for a retry.
    pub parked_lanes: usize,
    /// Of these, lanes whose key is blocked: out of attempts.
    pub blocked_lanes: usize,
    /// Lanes with work.
    pub lanes: usize,
    /// Jobs the pool can hold besides the parked ones.
    pub capacity: usize,
    /// Workers.
    pub workers: usize,
    /// Workers that cool down after too many restarts.
    pub workers_down: usize,
}

/// What stopping a pool came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopReport {
    /// Jobs that ended between the call and the end.
    pub finished: u64,
    /// Jobs that were abandoned.
    pub abandoned: u64,
    /// Workers whose handler did not come back, not even from being cancelled: it blocks its thread.
    pub stragglers: usize,
    /// Time it took.
    pub elapsed: Duration,
}
