//! The driver: a supervisor actor, one actor a worker, and one task for the retry timer.
//!
//! ractor's mailboxes have no bound, and no job ever goes through one: each actor gets one message,
//! which tells it to begin, and the supervisor gets the events of its actors. Submitted jobs lie in
//! the lanes, which have bounds.

use crate::{
    supervisor::{Supervisor, SupervisorArgs},
    worker::{WorkerTasks, join},
};
use buslane_core::{BoxFuture, ErasedHandler};
use buslane_pools::{Bounds, Crew, Driver, Engine, EngineConfig, Mode, PoolSpec, WorkerPool};
use ractor::{ActorRef, ActorRuntime, SpawnErr};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle, time};

/// The configuration of an actor pool, which [`start`](Self::start) starts.
///
/// ```
/// use buslane_actor::ActorPoolConfig;
/// use buslane_core::{Job, Kind, Message, Pool, Settlement, Topic, erase, stable_hash};
/// use std::{collections::VecDeque, time::Duration};
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
/// let handler = erase(Kind::Regular, |message: Message| async move {
///     println!("{:?}", message.payload);
/// });
/// let config = ActorPoolConfig { actors: 4, default_handler: Some(handler), ..Default::default() };
/// let pool = config.start();
///
/// let message = Message::new(Topic::new("orders")?, "placed");
/// let job = Job::new(stable_hash(b"order-1"), message, Settlement::ignored());
/// pool.submit(&mut VecDeque::from([job])).await?;
///
/// // Jobs that are queued still run before the deadline.
/// let report = pool.stop(Duration::from_secs(5)).await;
/// assert_eq!((report.abandoned, report.stragglers), (0, 0));
/// assert_eq!(pool.stats().ok, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ActorPoolConfig {
    /// Actors: handlers that run or wait at the same time. Default: 256. At least 1.
    pub actors: usize,
    /// Restarts of one actor within [`restart_window`](Self::restart_window) before it cools down;
    /// 0 lets it cool down after its first failure. Default: 3.
    pub max_restarts: usize,
    /// How long a restart is remembered. Default: 60 s.
    pub restart_window: Duration,
    /// How long an actor that failed too often rests before it is tried again. Default: 30 s.
    pub cool_down: Duration,
    /// How long a submitter waits for room at most. Default: 500 ms.
    pub wait_timeout: Duration,
    /// A lane per key, or a fixed number of slots. Default: a lane per key.
    pub mode: Mode,
    /// How much may be open. Default: 256,000 messages, 1,000 a lane. See
    /// [`inbox_size`](Self::inbox_size).
    pub bounds: Bounds,
    /// Handles the jobs that have no handler of their own. Without it, such a job is refused.
    /// Default: none.
    pub default_handler: Option<Arc<dyn ErasedHandler>>,
    /// First word of the metric names, as in `memory_eventbus_actor_pool_…`. Default: `memory`.
    pub backend: &'static str,
}

impl Default for ActorPoolConfig {
    fn default() -> Self {
        Self {
            actors: 256,
            max_restarts: 3,
            restart_window: Duration::from_secs(60),
            cool_down: Duration::from_secs(30),
            wait_timeout: Duration::from_millis(500),
            mode: Mode::Exclusive,
            bounds: Bounds::default(),
            default_handler: None,
            backend: "memory",
        }
    }
}

impl ActorPoolConfig {
    /// Bounds the open messages to `inbox_size` for each actor. Actors share their lanes, so this
    /// is a figure of the pool: any lane may use what others leave, up to its own bound.
    #[must_use]
    pub const fn inbox_size(mut self, inbox_size: usize) -> Self {
        self.bounds.messages = self.actors.saturating_mul(inbox_size);
        self
    }

    /// The specification from which [`Pools`](buslane_pools::Pools) builds the pool.
    ///
    /// # Panics
    /// Outside of a tokio runtime, and when `actors` is 0.
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
