//! What the pools have in common: jobs in a scheduler, with metrics and a default handler.
//!
//! Not a pool: it has no task, no thread and no clock of its own. A pool brings those: it runs one
//! [`Worker`] a task or actor, drives the timer, and hands in sleeps where something may take only
//! so long.
//!
//! [`Worker`]: crate::Worker

mod submit;

use crate::{
    Bounds, Mode, PoolMetrics, Scheduler, Tick, boxes::Boxes, parcel::Parcel, recorder::Recorder,
    report::Report, seats::Seats,
};
use buslane_core::{
    ErasedHandler, Job, Kind, LaneState, Latencies, Moved, Outcome, PoolStats, RunningJob, Taken,
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

/// How an engine is built.
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
    /// Metric handles.
    pub metrics: PoolMetrics,
    /// Tells the time that retries wait by, and how long a worker has run on: the executor's, so
    /// that a test can pause it.
    pub clock: fn() -> Instant,
}

/// Messages of one lane that a worker runs before it lets another lane have a turn.
const QUANTUM: usize = 16;

/// Jobs in lanes, and what all workers share.
pub struct Engine {
    pub(crate) scheduler: Scheduler<Parcel>,
    pub(crate) boxes: Boxes,
    pub(crate) seats: Seats,
    pub(crate) default_handler: Option<Arc<dyn ErasedHandler>>,
    pub(crate) metrics: Arc<PoolMetrics>,
    pub(crate) latencies: Recorder,
    panics: AtomicU64,
    restarts: AtomicU64,
    down: AtomicUsize,
    most_keys: AtomicUsize,
    workers: usize,
    bounds: Bounds,
    clock: fn() -> Instant,
}

impl Engine {
    /// An engine without workers yet.
    #[must_use]
    pub fn new(config: EngineConfig) -> Arc<Self> {
        let EngineConfig { workers, parallelism, mode, bounds, default_handler, metrics, clock } =
            config;
        let metrics = Arc::new(metrics);
        let report = Report::new(&metrics, bounds.messages);
        Arc::new(Self {
            scheduler: Scheduler::new(workers, parallelism, mode, QUANTUM, bounds, report),
            boxes: Boxes::default(),
            seats: Seats::new(workers),
            default_handler,
            metrics,
            latencies: Recorder::new(),
            panics: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            down: AtomicUsize::new(0),
            most_keys: AtomicUsize::new(usize::MAX),
            workers,
            bounds,
            clock,
        })
    }

    /// As [`PoolSide::take`](buslane_core::PoolSide::take).
    #[must_use]
    pub fn take_out(&self, matches: &dyn Fn(u64) -> bool) -> Taken {
        let Taken { moved, running } = self.scheduler.take(matches);
        let mut boxes = Vec::with_capacity(moved.len());
        let moved = moved.into_iter().filter_map(|Moved { item: mut parcel, failures, parked }| {
            let item = parcel.take()?;
            boxes.push(parcel);
            Some(Moved { item, failures, parked })
        });
        let moved = moved.collect();
        self.boxes.put(&mut boxes);
        Taken { moved, running }
    }

    /// As [`PoolSide::put`](buslane_core::PoolSide::put).
    pub fn put(&self, jobs: Vec<Moved>) {
        let parcels = {
            let mut pack = self.boxes.packer(self.now());
            jobs.into_iter()
                .map(|Moved { item, failures, parked }| Moved {
                    item: pack(item),
                    failures,
                    parked,
                })
                .collect()
        };
        drop(self.scheduler.put(parcels));
    }

    /// As [`PoolSide::latencies`](buslane_core::PoolSide::latencies).
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

    /// What the time has brought: lanes that go on, or go, and boxes that nobody needs.
    fn tick(&self, cx: &Context<'_>) -> Tick {
        let now = self.now();
        self.boxes.let_go(now);
        self.scheduler.tick(cx, now)
    }

    /// Drops the queued jobs that `matches`; returns how many.
    pub fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.scheduler.purge(&|parcel| parcel.as_job().is_some_and(matches)).len()
    }

    /// Takes no more work, and abandons the jobs that wait for a retry.
    pub fn close(&self) {
        self.abandon(self.scheduler.close());
    }

    /// Drops what a stop leaves, after its handlers were told.
    fn abandon(&self, left: Vec<Parcel>) {
        for parcel in &left {
            if let Some(job) = parcel.as_job()
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
        self.seats.running()
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

    /// Notes a restart of a worker by its supervisor.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
        self.metrics.restarted();
    }

    /// Notes that a worker cools down, or is tried again.
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
        self.metrics.panicked(kind);
    }
}
