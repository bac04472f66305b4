//! The state that all workers of a pool share: a scheduler of jobs, metrics and latencies.
//!
//! An engine starts no task and no thread. A [`Driver`](crate::Driver) does: it runs each
//! [`Worker`](crate::Worker) as a task or an actor, and runs the timer.

use crate::{
    job_box::{JobBox, JobBoxes},
    metrics::{LatencyRecorder, MetricsObserver, MetricsReport, PoolMetrics},
    running::RunningSlots,
};
use buslane_core::{
    ErasedHandler, Job, Kind, LaneState, Latencies, Outcome, PoolStats, RunningJob,
};
use buslane_lanes::{Bounds, Mode, Scheduler, Tick};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// The configuration of an engine.
#[derive(Clone)]
pub struct EngineConfig {
    /// The number of workers: handlers that run or wait at the same time.
    pub workers: usize,
    /// The number of the executor's threads: workers that can run at the same time.
    pub parallelism: usize,
    /// Whether each key has a lane, or keys share a fixed number of lanes.
    pub mode: Mode,
    /// The bounds of open jobs.
    pub bounds: Bounds,
    /// Handles the jobs that have no handler of their own.
    pub default_handler: Option<Arc<dyn ErasedHandler>>,
    /// The clock that retries and the yielding of workers use. It is the executor's clock, which a
    /// test can pause.
    pub clock: fn() -> Instant,
}

/// The number of messages of one lane that a worker runs before it turns to another lane.
const QUANTUM: usize = 16;

/// The time for workers to end by themselves before they are cancelled, and for cancelled handlers
/// to return before they count as stragglers.
const GRACE: Duration = Duration::from_secs(1);

/// A scheduler of jobs, and the other state that all workers of a pool share.
pub struct Engine {
    pub(crate) scheduler: Arc<Scheduler<JobBox>>,
    pub(crate) boxes: Arc<JobBoxes>,
    pub(crate) running: RunningSlots,
    pub(crate) default_handler: Option<Arc<dyn ErasedHandler>>,
    pub(crate) report: Arc<MetricsReport>,
    pub(crate) latencies: LatencyRecorder,
    pub(crate) bounds: Bounds,
    pub(crate) most_keys: AtomicUsize,
    panics: AtomicU64,
    restarts: AtomicU64,
    down: AtomicUsize,
    workers: usize,
    clock: fn() -> Instant,
}

impl Engine {
    /// An engine without running workers.
    #[must_use]
    pub fn new(config: EngineConfig) -> Arc<Self> {
        Self::with_boxes(config, Arc::default())
    }

    /// An engine that shares `boxes` with another one, so that jobs can migrate between them.
    pub(crate) fn with_boxes(config: EngineConfig, boxes: Arc<JobBoxes>) -> Arc<Self> {
        let EngineConfig { workers, parallelism, mode, bounds, default_handler, clock } = config;
        let report = Arc::new(MetricsReport::new(bounds.messages));
        let reporter = MetricsObserver(Arc::clone(&report));
        let scheduler = Scheduler::new(workers, parallelism, mode, QUANTUM, bounds, reporter);
        Arc::new(Self {
            scheduler: Arc::new(scheduler),
            boxes,
            running: RunningSlots::new(workers),
            default_handler,
            report,
            latencies: LatencyRecorder::new(),
            bounds,
            most_keys: AtomicUsize::new(usize::MAX),
            panics: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            down: AtomicUsize::new(0),
            workers,
            clock,
        })
    }

    /// Records metrics with these handles from now on. Only the first call has an effect; before
    /// it, no metric is recorded.
    pub fn record_with(&self, metrics: PoolMetrics) {
        self.report.record_with(metrics);
    }

    /// The number of workers.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// The time for workers to end by themselves after [`Engine::drain`]: 1 s, or zero while jobs
    /// are open, because their handlers do not return.
    #[must_use]
    pub fn grace(&self) -> Duration {
        if self.stats().open == 0 { GRACE } else { Duration::ZERO }
    }

    /// The time for a cancelled handler to return before it counts as a straggler: 1 s.
    pub const STRAGGLER_GRACE: Duration = GRACE;

    /// The time from acceptance to outcome of the timed jobs so far: the first job of each batch
    /// that a worker takes, and every job whose handler waits.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        self.latencies.counts()
    }

    /// Wakes deferred lanes when they are due. Returns when the engine is closed. One task must run
    /// it.
    ///
    /// # Cancel safety
    /// Safe: another call continues.
    pub async fn run_timer<S: Future<Output = ()>>(&self, sleep_until: impl Fn(Instant) -> S) {
        loop {
            let mut due = None;
            let mut sleep = pin!(None::<S>);
            let closed = poll_fn(|cx| match self.tick(cx) {
                Tick::Closed => Poll::Ready(true),
                Tick::Nothing => Poll::Pending,
                Tick::Due(at) => {
                    if due != Some(at) {
                        due = Some(at);
                        sleep.set(Some(sleep_until(at)));
                    }
                    match sleep.as_mut().as_pin_mut() {
                        Some(sleep) => sleep.poll(cx).map(|()| false),
                        None => Poll::Pending,
                    }
                }
            })
            .await;
            if closed {
                return;
            }
        }
    }

    /// Runs due work: wakes lanes whose backoff elapsed, evicts idle lanes, frees spare boxes.
    fn tick(&self, cx: &Context<'_>) -> Tick {
        let now = self.now();
        self.boxes.shrink(now);
        self.scheduler.tick(cx, now)
    }

    /// Drops the queued jobs that satisfy `matches`, and returns their number.
    pub fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.scheduler.purge(&|boxed| boxed.as_job().is_some_and(matches)).len()
    }

    /// Refuses jobs from now on, and abandons those that wait for a retry.
    pub fn close(&self) {
        self.abandon(self.scheduler.close());
    }

    /// Drops the jobs that a stop leaves, after informing their handlers.
    fn abandon(&self, left: Vec<JobBox>) {
        for boxed in &left {
            if let Some(job) = boxed.as_job()
                && let Some(handler) = job.handler.as_ref().or(self.default_handler.as_ref())
            {
                handler.ended(job, &Outcome::Abandoned);
            }
        }
    }

    /// Waits, after [`Engine::close`], until all jobs have ended or `timeout` completes, and then
    /// abandons the queued jobs.
    ///
    /// # Cancel safety
    /// Cancelling abandons no job; another call continues.
    pub async fn drain(&self, timeout: impl Future<Output = ()>) {
        let mut timeout = pin!(timeout);
        poll_fn(|cx| {
            if self.scheduler.poll_drained(cx).is_ready() {
                Poll::Ready(())
            } else {
                timeout.as_mut().poll(cx)
            }
        })
        .await;
        self.abandon(self.scheduler.purge(&|_| true));
    }

    /// Limits the number of active keys; `None` removes the limit.
    pub fn limit_keys(&self, most: Option<usize>) {
        self.most_keys.store(most.unwrap_or(usize::MAX), Relaxed);
        self.scheduler.limit_active(most.unwrap_or(usize::MAX));
    }

    /// The state of the lane of a key hash, if it has jobs or is remembered.
    #[must_use]
    pub fn lane(&self, lane: u64) -> Option<LaneState> {
        self.scheduler.lane(lane)
    }

    /// The jobs that the workers are running.
    #[must_use]
    pub fn running(&self) -> Vec<RunningJob> {
        self.running.jobs()
    }

    /// The counters and gauges of the pool.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let (lanes, counts) = self.scheduler.stats();
        PoolStats {
            accepted: counts.accepted,
            ok: counts.ok,
            failed: counts.failed,
            panicked: counts.panicked,
            abandoned: counts.abandoned,
            moved: counts.moved,
            retried: counts.retried,
            panics: self.panics.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            open: lanes.open,
            open_bytes: lanes.open_bytes,
            failing: lanes.failing,
            deferred_lanes: lanes.deferred_lanes,
            blocked_lanes: lanes.blocked_lanes,
            lanes: lanes.lanes,
            idle_lanes: lanes.idle_lanes,
            capacity: self.bounds.messages,
            workers: self.workers,
            workers_down: self.workers_down(),
        }
    }

    /// Counts a restart of a worker by its supervisor.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
        self.report.restarted();
    }

    /// Counts a worker that begins (`true`) or ends (`false`) a cool-down.
    pub fn set_down(&self, down: bool) {
        if down {
            self.down.fetch_add(1, Relaxed);
        } else {
            self.down.fetch_sub(1, Relaxed);
        }
    }

    /// The number of workers that cool down.
    #[must_use]
    pub fn workers_down(&self) -> usize {
        self.down.load(Relaxed)
    }

    pub(crate) fn now(&self) -> Instant {
        (self.clock)()
    }

    pub(crate) fn panicked(&self, kind: Kind) {
        self.panics.fetch_add(1, Relaxed);
        self.report.panicked(kind);
    }
}
