//! The pool: one tokio task a worker, one for the retry timer.

use crate::KeyedPoolConfig;
use buslane_core::{
    BoxFuture, Job, LaneState, Latencies, Moved, Pool, PoolSide, PoolStats, RunningJob, StopReport,
    SubmitError, Taken, Want,
};
use buslane_lanes::{Engine, EngineConfig, OnPanic, PoolMetrics, Stopping, Worker};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, task::JoinSet, time};

/// Time that a cancelled handler has to come back before it counts as a straggler.
const GRACE: Duration = Duration::from_secs(1);

/// A pool of tokio tasks that run lanes.
///
/// # Drop behaviour
/// Dropping it without [`Pool::stop`] cancels its tasks at their next `.await`; what was open is
/// abandoned.
pub struct KeyedPool {
    engine: Arc<Engine>,
    wait_timeout: Duration,
    state: Mutex<State>,
}

enum State {
    Running(JoinSet<()>),
    Stopping(watch::Receiver<Option<StopReport>>),
}

impl KeyedPool {
    /// Starts the workers on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime, and for a configuration with no workers.
    #[must_use]
    pub fn new(config: KeyedPoolConfig) -> Self {
        assert!(config.workers > 0, "a keyed pool needs at least 1 worker");
        let engine = Engine::new(EngineConfig {
            workers: config.workers,
            parallelism: Handle::current().metrics().num_workers(),
            mode: config.mode,
            bounds: config.bounds,
            default_handler: config.default_handler,
            metrics: PoolMetrics::bind(config.backend, "keyed"),
            clock: || time::Instant::now().into_std(),
        });
        let mut tasks = JoinSet::new();
        for index in 0..config.workers {
            let mut worker = Worker::new(Arc::clone(&engine), index);
            tasks.spawn(async move {
                let _ = worker.run(OnPanic::GoOn).await;
            });
        }
        let timer = Arc::clone(&engine);
        tasks.spawn(async move { timer.run_timer(|at| time::sleep_until(at.into())).await });
        Self { engine, wait_timeout: config.wait_timeout, state: Mutex::new(State::Running(tasks)) }
    }

    async fn stop_once(
        engine: Arc<Engine>,
        mut tasks: JoinSet<()>,
        stopping: Stopping,
        deadline: Duration,
    ) -> StopReport {
        engine.drain(time::sleep(deadline)).await;
        let joined = time::timeout(
            if engine.stats().open == 0 { GRACE } else { Duration::ZERO },
            join_all(&mut tasks),
        );
        if joined.await.is_err() {
            tasks.abort_all();
            let _ = time::timeout(GRACE, join_all(&mut tasks)).await;
        }
        stopping.report(&engine, tasks.len())
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

impl Drop for KeyedPool {
    fn drop(&mut self) {
        if let State::Running(_) = self.state.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // Nothing may run that stood behind what is cut off now.
            self.engine.close();
            self.engine.purge(&|_| true);
        }
    }
}

impl Pool for KeyedPool {
    fn name(&self) -> &'static str {
        "keyed"
    }

    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.engine.try_submit(batch)
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = match &mut *state {
            State::Stopping(answer) => answer.clone(),
            State::Running(tasks) => {
                let (done, answer) = watch::channel(None);
                let stopping = Stopping::begin(&self.engine);
                let stopped = Self::stop_once(
                    Arc::clone(&self.engine),
                    std::mem::take(tasks),
                    stopping,
                    deadline,
                );
                // In a task of its own, so that a caller who gives up does not leave the pool half
                // stopped.
                tokio::spawn(async move { done.send(Some(stopped.await)) });
                *state = State::Stopping(answer.clone());
                answer
            }
        };
        Box::pin(async move {
            answer
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|report| *report)
                .unwrap_or_default()
        })
    }
}

impl PoolSide for KeyedPool {
    fn poll_ready(&self, cx: &Context<'_>, want: Want, ticket: &mut Option<u64>) -> Poll<()> {
        self.engine.poll_ready(cx, want, ticket)
    }

    fn forget(&self, ticket: u64) {
        self.engine.forget(ticket);
    }

    fn take(&self, matches: &dyn Fn(u64) -> bool) -> Taken {
        self.engine.take_out(matches)
    }

    fn put(&self, jobs: Vec<Moved>) {
        self.engine.put(jobs);
    }

    fn latencies(&self) -> Latencies {
        self.engine.latencies()
    }
}
