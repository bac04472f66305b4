//! The pool: a supervisor actor, one actor a seat, and one task for the retry timer.

use crate::{
    ActorPoolConfig,
    supervisor::{Plan, SeatTasks, Supervisor, join},
};
use buslane_core::{
    BoxFuture, Job, LaneState, Latencies, Moved, Pool, PoolSide, PoolStats, RunningJob, StopReport,
    SubmitError, Taken, Want,
};
use buslane_lanes::{Engine, EngineConfig, PoolMetrics, Stopping};
use ractor::{ActorRef, ActorRuntime, SpawnErr};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle, time};

/// Time that a cancelled handler has to come back before it counts as a straggler.
const GRACE: Duration = Duration::from_secs(1);

/// A pool of supervised ractor actors that run lanes.
///
/// # Mailboxes
/// ractor's mailboxes have no bound. No job ever goes through one: each actor gets one message,
/// which tells it to begin, and the supervisor gets the events of its actors. What is submitted
/// lies in the lanes, which have bounds.
///
/// # Drop behaviour
/// Dropping it without [`Pool::stop`] kills its actors at their next `.await`; what was open is
/// abandoned.
pub struct ActorPool {
    engine: Arc<Engine>,
    wait_timeout: Duration,
    state: Mutex<State>,
}

enum State {
    Running(Option<Crew>),
    Stopping(watch::Receiver<Option<StopReport>>),
}

/// Everything that lives because of the pool.
struct Crew {
    supervisor: ActorRef<()>,
    /// Starts the supervisor, and hands out the task that it runs in.
    start: JoinHandle<Result<JoinHandle<()>, SpawnErr>>,
    seats: SeatTasks,
    timer: JoinHandle<()>,
    drained: watch::Sender<bool>,
}

impl ActorPool {
    /// Starts the actors on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime, and for a configuration with no actors.
    #[must_use]
    pub fn new(config: ActorPoolConfig) -> Self {
        assert!(config.actors > 0, "an actor pool needs at least 1 actor");
        let engine = Engine::new(EngineConfig {
            workers: config.actors,
            parallelism: Handle::current().metrics().num_workers(),
            mode: config.mode,
            bounds: config.bounds,
            default_handler: config.default_handler,
            metrics: PoolMetrics::bind(config.backend, "actor"),
            clock: || time::Instant::now().into_std(),
        });
        let (drained, until_drained) = watch::channel(false);
        let seats = SeatTasks::default();
        let plan = Plan {
            engine: Arc::clone(&engine),
            actors: config.actors,
            max_restarts: config.max_restarts,
            restart_window: config.restart_window,
            cool_down: config.cool_down,
            drained: until_drained,
            tasks: seats.clone(),
        };
        let (supervisor, start) = ActorRuntime::spawn_instant(None, Supervisor, plan)
            .expect("an actor without a name can always be made");
        let clock = Arc::clone(&engine);
        let timer =
            tokio::spawn(async move { clock.run_timer(|at| time::sleep_until(at.into())).await });
        let crew = Crew { supervisor, start, seats, timer, drained };
        Self {
            engine,
            wait_timeout: config.wait_timeout,
            state: Mutex::new(State::Running(Some(crew))),
        }
    }
}

impl Crew {
    async fn stop(self, engine: Arc<Engine>, stopping: Stopping, deadline: Duration) -> StopReport {
        let Self { supervisor, start, seats, mut timer, drained } = self;
        engine.drain(time::sleep(deadline)).await;
        drained.send_replace(true);
        let mut supervision = tokio::spawn(async move {
            if let Ok(Ok(supervision)) = start.await {
                let _ = supervision.await;
            }
        });
        // The actors end by themselves when nothing is open, and the supervisor after the last of
        // them.
        let patience = if engine.stats().open == 0 { GRACE } else { Duration::ZERO };
        if time::timeout(patience, &mut supervision).await.is_err() {
            supervisor.kill();
            if time::timeout(GRACE, &mut supervision).await.is_err() {
                supervision.abort();
            }
        }
        let stragglers = join(seats.take(), GRACE).await;
        if time::timeout(GRACE, &mut timer).await.is_err() {
            timer.abort();
        }
        stopping.report(&engine, stragglers)
    }
}

impl Drop for ActorPool {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(Some(crew)) = state {
            // Nothing may run that stood behind what is cut off now.
            self.engine.close();
            self.engine.purge(&|_| true);
            crew.supervisor.kill();
        }
    }
}

impl Pool for ActorPool {
    fn name(&self) -> &'static str {
        "actor"
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
            State::Running(crew) => {
                let (done, answer) = watch::channel(None);
                if let Some(crew) = crew.take() {
                    let stopping = Stopping::begin(&self.engine);
                    let stopped = crew.stop(Arc::clone(&self.engine), stopping, deadline);
                    // In a task of its own, so that a caller who gives up does not leave the pool
                    // half stopped.
                    tokio::spawn(async move { done.send(Some(stopped.await)) });
                }
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

impl PoolSide for ActorPool {
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
