//! The contract of a pool: it answers where and in what order jobs run, and nothing else.
//!
//! A pool knows no topic, no broker and no retry policy. It keeps its promises in lanes: jobs of
//! one lane run one at a time and in the order of their submission, whatever the pool is made of.

mod stats;

pub use stats::PoolStats;

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
    /// What waits behind failing keys has used up its own bound, and this job belongs to such a
    /// key.
    #[error("{messages} messages wait behind failing keys, which is the bound")]
    ParkedFull {
        /// Messages that wait.
        messages: usize,
    },
    /// Neither the job nor the pool has a handler. The job will never be taken.
    #[error("no handler available for message")]
    NoHandler,
    /// As many keys have jobs as may, and this job is of another one.
    #[error("{keys} keys are active, which is the limit")]
    KeysFull {
        /// The limit.
        keys: usize,
    },
    /// The pool is stopping or has stopped.
    #[error("pool is stopped")]
    Stopped,
}

impl SubmitError {
    /// Whether the same job may be taken later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        !matches!(self, Self::NoHandler | Self::Stopped)
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
    fn submit<'a>(&'a self, batch: &'a mut VecDeque<Job>)
    -> BoxFuture<'a, Result<(), SubmitError>>;

    /// Drops every queued job that `matches`, which settles it as abandoned: those that wait for a
    /// retry too, running ones not. A running job that fails after its source has ended is
    /// abandoned instead of tried again. Returns how many were dropped. Walks through all queued
    /// jobs under the pool's lock.
    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize;

    /// Takes jobs of so many keys at the same time; `None` for any number, which is the beginning.
    /// Keys that wait for a retry do not count, so that failing keys cannot keep the others out;
    /// when they go on there can be more for a while. In a pool of fixed slots a slot counts, not a
    /// key.
    fn limit_keys(&self, most: Option<usize>);

    /// What is known of the key of a lane, which is a key hash: one with jobs, or one that had some
    /// not long ago.
    fn lane(&self, lane: u64) -> Option<LaneState>;

    /// What the workers are running at this moment, in no order. The default is nothing.
    fn running(&self) -> Vec<RunningJob> {
        Vec::new()
    }

    /// Figures of this moment.
    fn stats(&self) -> PoolStats;

    /// Takes no more work, runs what is queued until `deadline` has passed, abandons the rest, and
    /// joins every worker. Jobs that wait for a retry are abandoned at once.
    ///
    /// Idempotent: later and concurrent calls wait for the first one and get its answer.
    ///
    /// # Cancel safety
    /// Once begun it goes on when the caller's future is dropped.
    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport>;
}

/// What a pool knows of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneState {
    /// Its jobs that have not ended. None: the key is idle.
    pub open: usize,
    /// How often the first of them has failed.
    pub failures: u32,
    /// Whether they wait for the next attempt.
    pub is_waiting: bool,
    /// Whether they wait because the attempts are used up.
    pub is_blocked: bool,
}

/// An attempt that has begun and not ended. The same worker with the same number is the same
/// attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningJob {
    /// Which worker.
    pub worker: usize,
    /// Which of its attempts, counted from 1.
    pub attempt: u64,
    /// [`Source::id`](crate::Source::id) of its message.
    pub source: u64,
    /// Offset of its message.
    pub offset: u64,
}

/// What stopping a pool came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopReport {
    /// Jobs that ended between the call and the end.
    pub finished: u64,
    /// Jobs that were abandoned.
    pub abandoned: u64,
    /// Workers whose handler did not come back, not even from being cancelled: it blocks its
    /// thread.
    pub stragglers: usize,
    /// Time it took.
    pub elapsed: Duration,
}
