//! The driver: a supervisor actor, one actor a worker, and one task for the retry timer.
//!
//! ractor's mailboxes have no bound, and no job ever goes through one: each actor gets one message,
//! which tells it to begin, and the supervisor gets the events of its actors. Submitted jobs lie in
//! the lanes, which have bounds.

use crate::{
    ActorPoolConfig,
    supervisor::{Supervisor, SupervisorArgs},
    worker::{WorkerTasks, join},
};
use buslane_core::BoxFuture;
use buslane_pools::{Crew, Driver, Engine, EngineConfig, PoolSpec, WorkerPool};
use ractor::{ActorRef, ActorRuntime, SpawnErr};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle, time};

impl ActorPoolConfig {
    /// The pool before it is built, for [`Pools`](buslane_pools::Pools).
    ///
    /// # Panics
    /// Outside of a tokio runtime, and for a configuration with no actors.
    #[must_use]
    pub fn spec(self) -> PoolSpec {
        assert!(self.actors > 0, "an actor pool needs at least 1 actor");
        PoolSpec {
            engine: EngineConfig {
                workers: self.actors,
                parallelism: Handle::current().metrics().num_workers(),
                mode: self.mode,
                bounds: self.bounds,
                default_handler: self.default_handler,
                clock: || time::Instant::now().into_std(),
            },
            driver: Arc::new(Supervised {
                max_restarts: self.max_restarts,
                restart_window: self.restart_window,
                cool_down: self.cool_down,
            }),
            wait_timeout: self.wait_timeout,
            backend: self.backend,
        }
    }

    /// Starts the actors on the current tokio runtime.
    ///
    /// # Panics
    /// As [`ActorPoolConfig::spec`].
    #[must_use]
    pub fn start(self) -> WorkerPool {
        self.spec().start()
    }
}

/// Runs workers as supervised actors. A panic of a regular message's handler ends its actor, which
/// the supervisor restarts.
struct Supervised {
    max_restarts: usize,
    restart_window: Duration,
    cool_down: Duration,
}

impl Driver for Supervised {
    fn name(&self) -> &'static str {
        "actor"
    }

    fn start(&self, engine: &Arc<Engine>) -> Box<dyn Crew> {
        let (drained, until_drained) = watch::channel(false);
        let tasks = WorkerTasks::default();
        let args = SupervisorArgs {
            engine: Arc::clone(engine),
            actors: engine.workers(),
            max_restarts: self.max_restarts,
            restart_window: self.restart_window,
            cool_down: self.cool_down,
            drained: until_drained,
            tasks: tasks.clone(),
        };
        let (supervisor, start) = ActorRuntime::spawn_instant(None, Supervisor, args)
            .expect("an actor without a name can always be made");
        let clock = Arc::clone(engine);
        let timer =
            tokio::spawn(async move { clock.run_timer(|at| time::sleep_until(at.into())).await });
        Box::new(Actors { supervisor, start: Some(start), tasks, timer, drained })
    }
}

/// Everything that runs for one pool.
struct Actors {
    supervisor: ActorRef<()>,
    /// Starts the supervisor, and returns the task that it runs in.
    start: Option<JoinHandle<Result<JoinHandle<()>, SpawnErr>>>,
    tasks: WorkerTasks,
    timer: JoinHandle<()>,
    drained: watch::Sender<bool>,
}

impl Crew for Actors {
    fn join(mut self: Box<Self>, engine: Arc<Engine>) -> BoxFuture<'static, usize> {
        Box::pin(async move {
            self.drained.send_replace(true);
            let start = self.start.take();
            let mut supervision = tokio::spawn(async move {
                if let Some(start) = start
                    && let Ok(Ok(supervision)) = start.await
                {
                    let _ = supervision.await;
                }
            });
            // The actors end by themselves when nothing is open, and the supervisor after the last
            // of them.
            if time::timeout(engine.grace(), &mut supervision).await.is_err() {
                self.supervisor.kill();
                if time::timeout(Engine::STRAGGLER_GRACE, &mut supervision).await.is_err() {
                    supervision.abort();
                }
            }
            let stragglers = join(self.tasks.take(), Engine::STRAGGLER_GRACE).await;
            if time::timeout(Engine::STRAGGLER_GRACE, &mut self.timer).await.is_err() {
                self.timer.abort();
            }
            stragglers
        })
    }
}

impl Drop for Actors {
    fn drop(&mut self) {
        self.supervisor.kill();
    }
}
