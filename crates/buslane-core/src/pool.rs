//! The contract of a pool: it decides where and in what order jobs run.
//!
//! A pool knows no topic, no broker and no retry policy. Jobs of one lane run one at a time and in
//! the order of their submission, however the pool is built.

use crate::Job;
use std::{collections::VecDeque, future::Future, ops::AddAssign, pin::Pin, time::Duration};
use thiserror::Error;

/// A boxed future, for calls that are not made for each message.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a pool refused a job, which stays at the front of the caller's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The job's lane is full.
    #[error("lane is full: {limit} messages of this key are open")]
    LaneFull {
        /// The bound of a lane, in messages.
        limit: usize,
    },
    /// The pool holds as many jobs or bytes as its bounds allow.
    #[error("pool is full: {messages} messages of {bytes} bytes are open")]
    PoolFull {
        /// Open messages.
        messages: usize,
        /// The bytes of these messages.
        bytes: usize,
    },
    /// The job belongs to a failing key, and the messages behind failing keys have reached their
    /// bound.
    #[error("{messages} messages wait behind failing keys, which is the bound")]
    FailingFull {
        /// The messages that wait.
        messages: usize,
    },
    /// Neither the job nor the pool has a handler, so the job can never be accepted.
    #[error("no handler available for message")]
    NoHandler,
    /// The limit of active keys is reached, and the key of this job is not active.
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
    /// Whether the pool may accept the same job later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        !matches!(self, Self::NoHandler | Self::Stopped)
    }
}

/// A pool that runs jobs in lanes.
///
/// Its tests are the scenarios of `buslane-testkit`, which each implementation passes.
pub trait Pool: Send + Sync + 'static {
    /// The name in metrics and logs: `keyed` or `actor`.
    fn name(&self) -> &'static str;

    /// Takes jobs from the front of `batch` while there is room. Never waits.
    ///
    /// # Errors
    /// Why the job that is now at the front was refused. The jobs before it were accepted.
    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError>;

    /// As [`Pool::try_submit`], but waits for room, up to the pool's wait timeout.
    ///
    /// # Errors
    /// As [`Pool::try_submit`]; a temporary error comes only after the wait timeout.
    ///
    /// # Cancel safety
    /// Cancelling leaves the jobs that were not accepted in `batch`.
    fn submit<'a>(&'a self, batch: &'a mut VecDeque<Job>)
    -> BoxFuture<'a, Result<(), SubmitError>>;

    /// Drops every queued job that satisfies `matches`, including jobs that wait for a retry, which
    /// settles them as abandoned. Running jobs stay; one that fails after its source has ended is
    /// abandoned instead of tried again. Returns the number of dropped jobs. Scans all queued jobs
    /// under the pool's lock.
    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize;

    /// Limits the number of keys with open jobs; `None`, the initial value, removes the limit. Keys
    /// that wait for a retry do not count, so that failing keys cannot keep the others out; when
    /// they resume, the number can exceed the limit for a while. A pool of fixed slots counts slots
    /// instead of keys.
    fn limit_keys(&self, most: Option<usize>);

    /// The state of the lane of a key hash. `None` for a lane that has no jobs and is no longer
    /// remembered.
    fn lane(&self, lane: u64) -> Option<LaneState>;

    /// The jobs that the workers are running, in arbitrary order. The default is none.
    fn running(&self) -> Vec<RunningJob> {
        Vec::new()
    }

    /// The counters and gauges of the pool.
    fn stats(&self) -> PoolStats;

    /// Closes the pool: runs the queued jobs until `deadline` has passed, abandons the rest, and
    /// joins every worker. Jobs that wait for a retry are abandoned at once.
    ///
    /// Idempotent: later and concurrent calls wait for the first one and return its report.
    ///
    /// # Cancel safety
    /// Once begun, the stop continues when the caller's future is dropped.
    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport>;
}

/// The state of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneState {
    /// Jobs that have not ended; 0 while the lane is idle.
    pub open: usize,
    /// How often the first job has failed.
    pub failures: u32,
    /// Whether the lane waits for the next attempt of its first job.
    pub is_waiting: bool,
    /// Whether it waits although the attempts are used up.
    pub is_blocked: bool,
}

/// A running attempt. Worker and number together identify the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningJob {
    /// The index of the worker.
    pub worker: usize,
    /// The number of the worker's attempt, counted from 1.
    pub attempt: u64,
    /// The [`Source::id`](crate::Source::id) of the message.
    pub source: u64,
    /// The offset of the message.
    pub offset: u64,
}

/// The result of stopping a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopReport {
    /// Jobs that ended during the stop.
    pub finished: u64,
    /// Jobs that were abandoned.
    pub abandoned: u64,
    /// Workers whose handler did not return even when it was cancelled, because it blocks its
    /// thread.
    pub stragglers: usize,
    /// The duration of the stop.
    pub elapsed: Duration,
}

/// The counters of a pool since its start, and its gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Jobs accepted.
    pub accepted: u64,
    /// Jobs that succeeded.
    pub ok: u64,
    /// Jobs that ended in a failure.
    pub failed: u64,
    /// Jobs that ended in a panic.
    pub panicked: u64,
    /// Jobs that were dropped before they had ended.
    pub abandoned: u64,
    /// Jobs that migrated to another pool.
    pub moved: u64,
    /// Attempts that failed and are retried.
    pub retried: u64,
    /// Panics of handlers, counted for each attempt.
    pub panics: u64,
    /// Restarts of workers by a supervisor.
    pub restarts: u64,
    /// Jobs accepted and not ended.
    pub open: usize,
    /// Bytes of the open jobs.
    pub open_bytes: usize,
    /// Open jobs that wait behind a failing key.
    pub failing: usize,
    /// Lanes that wait for a retry.
    pub deferred_lanes: usize,
    /// Of these, lanes whose attempts are used up.
    pub blocked_lanes: usize,
    /// Lanes with open jobs.
    pub lanes: usize,
    /// Lanes without open jobs whose state is kept.
    pub idle_lanes: usize,
    /// The bound of open jobs, those of failing keys excluded.
    pub capacity: usize,
    /// Workers.
    pub workers: usize,
    /// Workers that cool down after too many restarts.
    pub workers_down: usize,
}

impl AddAssign for PoolStats {
    /// Adds the figures of another pool.
    fn add_assign(&mut self, other: Self) {
        let Self {
            accepted,
            ok,
            failed,
            panicked,
            abandoned,
            moved,
            retried,
            panics,
            restarts,
            open,
            open_bytes,
            failing,
            deferred_lanes,
            blocked_lanes,
            lanes,
            idle_lanes,
            capacity,
            workers,
            workers_down,
        } = other;
        self.accepted += accepted;
        self.ok += ok;
        self.failed += failed;
        self.panicked += panicked;
        self.abandoned += abandoned;
        self.moved += moved;
        self.retried += retried;
        self.panics += panics;
        self.restarts += restarts;
        self.open += open;
        self.open_bytes += open_bytes;
        self.failing += failing;
        self.deferred_lanes += deferred_lanes;
        self.blocked_lanes += blocked_lanes;
        self.lanes += lanes;
        self.idle_lanes += idle_lanes;
        self.capacity += capacity;
        self.workers += workers;
        self.workers_down += workers_down;
    }
}
