//! Jobs in a scheduler, and what all workers of a pool share.
//!
//! Not a pool: it starts no task and no thread. A [`Driver`](crate::Driver) brings those: it runs
//! one [`Worker`](crate::Worker) a task or actor, and drives the timer.

use crate::{
    PoolMetrics,
    job_box::{JobBox, JobBoxes},
    recorder::Recorder,
    report::{Report, Reporter},
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

/// How an engine is built.
#[derive(Clone)]
pub struct EngineConfig {
    /// Workers: how many handlers may be running or waiting at the same time.
    pub workers: usize,
    /// Threads of the executor: how many of the workers can run at the same time.
    pub parallelism: usize,
    /// How keys find their lane.
    pub mode: Mode,
    /// How much may be open.
    pub bounds: Bounds,
    /// Handles jobs that bring no handler.
    pub default_handler: Option<Arc<dyn ErasedHandler>>,
    /// Tells the time: when retries are due, and how long a worker has run on. The executor's
    /// clock, so that a test can pause it.
    pub clock: fn() -> Instant,
}

/// Messages of one lane that a worker runs before it lets another lane have a turn.
const QUANTUM: usize = 16;

/// Time that workers get to end by themselves before they are cancelled, and cancelled handlers to
/// return before they count as stragglers.
const GRACE: Duration = Duration::from_secs(1);

/// Jobs in lanes, and what all workers share.
pub struct Engine {
    pub(crate) scheduler: Arc<Scheduler<JobBox>>,
    pub(crate) boxes: Arc<JobBoxes>,
    pub(crate) running: RunningSlots,
    pub(crate) default_handler: Option<Arc<dyn ErasedHandler>>,
    pub(crate) report: Arc<Report>,
    pub(crate) latencies: Recorder,
    pub(crate) bounds: Bounds,
    pub(crate) most_keys: AtomicUsize,
    panics: AtomicU64,
    restarts: AtomicU64,
    down: AtomicUsize,
    workers: usize,
    clock: fn() -> Instant,
}

impl Engine {
    /// An engine without workers yet.
    #[must_use]
    pub fn new(config: EngineConfig) -> Arc<Self> {
        Self::with_boxes(config, Arc::default())
    }

    /// An engine whose jobs can be handed to another one that has the same boxes.
    pub(crate) fn with_boxes(config: EngineConfig, boxes: Arc<JobBoxes>) -> Arc<Self> {
        let EngineConfig { workers, parallelism, mode, bounds, default_handler, clock } = config;
        let report = Arc::new(Report::new(bounds.messages));
        let reporter = Reporter(Arc::clone(&report));
        let scheduler = Scheduler::new(workers, parallelism, mode, QUANTUM, bounds, reporter);
        Arc::new(Self {
            scheduler: Arc::new(scheduler),
            boxes,
            running: RunningSlots::new(workers),
            default_handler,
            report,
            latencies: Recorder::new(),
            bounds,
            most_keys: AtomicUsize::new(usize::MAX),
            panics: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            down: AtomicUsize::new(0),
            workers,
            clock,
        })
    }

    /// Records its metrics with these handles from now on. The first call wins; without one nothing
    /// is recorded.
    pub fn record_with(&self, metrics: PoolMetrics) {
        self.report.record_with(metrics);
    }

    /// How many workers it is built for.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// How long workers may take to end by themselves after [`Engine::drain`]: 1 s, and nothing
    /// while jobs are open, whose handlers do not return.
    #[must_use]
    pub fn grace(&self) -> Duration {
        if self.stats().open == 0 { GRACE } else { Duration::ZERO }
    }

    /// How long a cancelled handler may take to return before it counts as a straggler: 1 s.
    pub const STRAGGLER_GRACE: Duration = GRACE;

    /// From acceptance to outcome, of all jobs so far that were timed: at least the first of each
    /// batch that a worker takes, and each whose handler waits.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        self.latencies.counts()
    }

    /// Makes parked lanes run when their time has come. Returns when the engine is closed.
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

    /// Drops the queued jobs that `matches`; returns how many.
    pub fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.scheduler.purge(&|boxed| boxed.as_job().is_some_and(matches)).len()
    }

    /// Takes no more work, and abandons the jobs that wait for a retry.
    pub fn close(&self) {
        self.abandon(self.scheduler.close());
    }

    /// Drops the jobs that a stop leaves, and tells their handlers before.
    fn abandon(&self, left: Vec<JobBox>) {
        for boxed in &left {
            if let Some(job) = boxed.as_job()
                && let Some(handler) = job.handler.as_ref().or(self.default_handler.as_ref())
            {
                handler.ended(job, &Outcome::Abandoned);
            }
        }
    }

    /// Waits until everything has ended after [`Engine::close`], or `timeout`; then abandons what
    /// is queued.
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

    /// Takes jobs of so many keys at the same time; `None` for any number.
    pub fn limit_keys(&self, most: Option<usize>) {
        self.most_keys.store(most.unwrap_or(usize::MAX), Relaxed);
        self.scheduler.limit_active(most.unwrap_or(usize::MAX));
    }

    /// What is known of the lane of a key hash.
    #[must_use]
    pub fn lane(&self, lane: u64) -> Option<LaneState> {
        self.scheduler.lane(lane)
    }

    /// What the workers are running.
    #[must_use]
    pub fn running(&self) -> Vec<RunningJob> {
        self.running.jobs()
    }

    /// Figures of the moment.
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
            parked: lanes.parked,
            parked_lanes: lanes.parked_lanes,
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

    /// Counts a worker that cools down, or no longer does.
    pub fn set_down(&self, down: bool) {
        if down {
            self.down.fetch_add(1, Relaxed);
        } else {
            self.down.fetch_sub(1, Relaxed);
        }
    }

    /// Workers that cool down.
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
