//! A pool: an engine, the driver that runs its workers, and its stop.

use crate::{Engine, EngineConfig, PoolMetrics, job_box::JobBoxes};
use buslane_core::{
    BoxFuture, Job, LaneState, Pool, PoolStats, RunningJob, StopReport, SubmitError,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release, SeqCst},
        },
    },
    time::{Duration, Instant},
};
use tokio::{sync::watch, time};

/// Runs the workers of an engine, as plain tasks or as supervised actors.
pub trait Driver: Send + Sync + 'static {
    /// `keyed` or `actor`: the name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Starts one [`Worker`](crate::Worker) for each index, and the engine's timer, on the current
    /// tokio runtime.
    fn start(&self, engine: &Arc<Engine>) -> Box<dyn Crew>;
}

/// The running workers of an engine.
///
/// # Drop behaviour
/// Cancels the workers at their next `.await`.
pub trait Crew: Send + 'static {
    /// Joins the workers of a drained engine, and cancels those that do not end within
    /// [`Engine::grace`]. Returns the number of workers that still do not end.
    fn join(self: Box<Self>, engine: Arc<Engine>) -> BoxFuture<'static, usize>;
}

/// The specification of a pool.
#[derive(Clone)]
pub struct PoolSpec {
    /// The configuration of the engine.
    pub engine: EngineConfig,
    /// The driver, which runs the workers.
    pub driver: Arc<dyn Driver>,
    /// How long a submitter waits for room at most.
    pub wait_timeout: Duration,
    /// First word of the metric names, as in `memory_eventbus_keyed_pool_…`.
    pub backend: &'static str,
}

impl PoolSpec {
    /// Builds the pool and starts its workers on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(self) -> WorkerPool {
        let pool = WorkerPool::new(self, Arc::default());
        pool.start();
        pool
    }
}

/// A pool of workers that run lanes.
///
/// # Drop behaviour
/// Dropping it without [`Pool::stop`] cancels its workers at their next `.await`; open jobs are
/// abandoned.
pub struct WorkerPool {
    pub(crate) engine: Arc<Engine>,
    driver: Arc<dyn Driver>,
    pub(crate) wait_timeout: Duration,
    backend: &'static str,
    crew: Mutex<Option<Box<dyn Crew>>>,
    is_started: AtomicBool,
    stop: StopOnce,
}

impl WorkerPool {
    /// A pool whose workers are not started.
    pub(crate) fn new(spec: PoolSpec, boxes: Arc<JobBoxes>) -> Self {
        let PoolSpec { engine, driver, wait_timeout, backend } = spec;
        Self {
            engine: Engine::with_boxes(engine, boxes),
            driver,
            wait_timeout,
            backend,
            crew: Mutex::new(None),
            is_started: AtomicBool::new(false),
            stop: StopOnce::default(),
        }
    }

    /// Starts the workers, unless they were started before.
    pub(crate) fn start(&self) {
        self.start_with(|| PoolMetrics::bind(self.backend, self.driver.name()));
    }

    /// As [`WorkerPool::start`], with these metrics.
    pub(crate) fn start_with(&self, metrics: impl FnOnce() -> PoolMetrics) {
        // A stop that begins meanwhile waits for this lock, and joins the workers started under it.
        let mut crew = self.crew.lock();
        if !self.is_started() && !self.stop.has_begun() {
            self.engine.record_with(metrics());
            *crew = Some(self.driver.start(&self.engine));
            self.is_started.store(true, Release);
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.is_started.load(Acquire)
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        if !self.stop.has_begun() {
            // A job must not run after its predecessor in the lane was cut off.
            self.engine.close();
            self.engine.purge(&|_| true);
        }
    }
}

impl Pool for WorkerPool {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.engine.try_submit(batch).map(drop)
    }

    fn submit<'a>(
        &'a self,
        batch: &'a mut VecDeque<Job>,
    ) -> BoxFuture<'a, Result<(), SubmitError>> {
        Box::pin(self.engine.submit(batch, time::sleep(self.wait_timeout)))
    }

    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.engine.purge(matches)
    }

    fn limit_keys(&self, most: Option<usize>) {
        self.engine.limit_keys(most);
    }

    fn lane(&self, lane: u64) -> Option<LaneState> {
        self.engine.lane(lane)
    }

    fn running(&self) -> Vec<RunningJob> {
        self.engine.running()
    }

    fn stats(&self) -> PoolStats {
        self.engine.stats()
    }

    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport> {
        self.stop.run(|| {
            let (engine, crew) = (Arc::clone(&self.engine), self.crew.lock().take());
            let stopping = Stopping::begin(&engine);
            async move {
                engine.drain(time::sleep(deadline)).await;
                let stragglers = match crew {
                    Some(crew) => crew.join(Arc::clone(&engine)).await,
                    None => 0,
                };
                stopping.report(&engine, stragglers)
            }
        })
    }
}

/// A stop that begins once and returns its report to every caller.
#[derive(Default)]
pub(crate) struct StopOnce {
    /// Set before the stop begins. It is not under the lock of `answer`, because `begin` runs under
    /// that lock and takes others.
    has_begun: AtomicBool,
    answer: Mutex<Option<watch::Receiver<Option<StopReport>>>>,
}

impl StopOnce {
    /// Whether the stop has begun or is about to.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(SeqCst)
    }

    /// Begins the stop unless it has begun, and waits for its report.
    ///
    /// # Cancel safety
    /// Once begun, the stop continues in a task of its own when the caller's future is dropped.
    pub(crate) fn run<F>(&self, begin: impl FnOnce() -> F) -> BoxFuture<'static, StopReport>
    where
        F: Future<Output = StopReport> + Send + 'static,
    {
        let begin = || {
            let (done, answer) = watch::channel(None);
            let stopped = begin();
            tokio::spawn(async move { done.send(Some(stopped.await)) });
            answer
        };
        self.has_begun.store(true, SeqCst);
        let mut answer = self.answer.lock().get_or_insert_with(begin).clone();
        Box::pin(async move {
            let report = answer.wait_for(Option::is_some).await;
            report.ok().and_then(|report| *report).unwrap_or_default()
        })
    }
}

/// The state of an engine when its stop began.
pub(crate) struct Stopping {
    began: Instant,
    before: PoolStats,
}

impl Stopping {
    /// Closes the engine, and records its figures.
    pub(crate) fn begin(engine: &Engine) -> Self {
        let stopping = Self { began: Instant::now(), before: engine.stats() };
        engine.close();
        stopping
    }

    /// The report at the end, with the number of workers that did not return.
    pub(crate) fn report(&self, engine: &Engine, stragglers: usize) -> StopReport {
        let after = engine.stats();
        StopReport {
            finished: ended(&after) - ended(&self.before),
            abandoned: after.abandoned - self.before.abandoned,
            stragglers,
            elapsed: self.began.elapsed(),
        }
    }
}

/// The number of jobs that ended, abandoned ones excluded.
pub(crate) const fn ended(stats: &PoolStats) -> u64 {
    stats.ok + stats.failed + stats.panicked
}
