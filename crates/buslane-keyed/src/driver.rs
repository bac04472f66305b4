//! The driver: one tokio task a worker, one for the retry timer.

use buslane_core::{BoxFuture, ErasedHandler};
use buslane_pools::{
    Bounds, Crew, Driver, Engine, EngineConfig, Mode, OnPanic, PoolSpec, Worker, WorkerPool,
};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinSet, time};

/// The configuration of a keyed pool, which [`start`](Self::start) starts.
///
/// ```
/// use buslane_keyed::KeyedPoolConfig;
/// use buslane_core::{Job, Kind, Message, Pool, Settlement, Topic, erase, stable_hash};
/// use std::{collections::VecDeque, time::Duration};
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
/// let handler = erase(Kind::Regular, |message: Message| async move {
///     println!("{:?}", message.payload);
/// });
/// let config = KeyedPoolConfig { workers: 4, default_handler: Some(handler), ..Default::default() };
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
pub struct KeyedPoolConfig {
    /// Workers: handlers that run or wait at the same time. Default: 256. At least 1.
    pub workers: usize,
    /// How long a submitter waits for room at most. Default: 500 ms.
    pub wait_timeout: Duration,
    /// A lane per key, or a fixed number of slots. Default: a lane per key.
    pub mode: Mode,
    /// How much may be open. Default: 256,000 messages, 1,000 a lane.
    pub bounds: Bounds,
    /// Handles the jobs that have no handler of their own. Without it, such a job is refused.
    /// Default: none.
    pub default_handler: Option<Arc<dyn ErasedHandler>>,
    /// First word of the metric names, as in `memory_eventbus_keyed_pool_…`. Default: `memory`.
    pub backend: &'static str,
}

impl Default for KeyedPoolConfig {
    fn default() -> Self {
        Self {
            workers: 256,
            wait_timeout: Duration::from_millis(500),
            mode: Mode::Exclusive,
            bounds: Bounds::default(),
            default_handler: None,
            backend: "memory",
        }
    }
}

impl KeyedPoolConfig {
    /// The specification from which [`Pools`](buslane_pools::Pools) builds the pool.
    ///
    /// # Panics
    /// Outside of a tokio runtime, and when `workers` is 0.
    #[must_use]
    pub fn spec(self) -> PoolSpec {
        assert!(self.workers > 0, "a keyed pool needs at least 1 worker");
        PoolSpec {
            engine: EngineConfig {
                workers: self.workers,
                parallelism: Handle::current().metrics().num_workers(),
                mode: self.mode,
                bounds: self.bounds,
                default_handler: self.default_handler,
                clock: || time::Instant::now().into_std(),
            },
            driver: Arc::new(KeyedWorkers),
            wait_timeout: self.wait_timeout,
            backend: self.backend,
        }
    }

    /// Starts the workers on the current tokio runtime.
    ///
    /// # Panics
    /// As [`KeyedPoolConfig::spec`].
    #[must_use]
    pub fn start(self) -> WorkerPool {
        self.spec().start()
    }
}

/// Runs workers as tokio tasks. A panic of a handler does not end a task.
struct KeyedWorkers;

impl Driver for KeyedWorkers {
    fn name(&self) -> &'static str {
        "keyed"
    }

    fn start(&self, engine: &Arc<Engine>) -> Box<dyn Crew> {
        let mut tasks = JoinSet::new();
        for index in 0..engine.workers() {
            let mut worker = Worker::new(Arc::clone(engine), index);
            tasks.spawn(async move {
                let _ = worker.run(OnPanic::GoOn).await;
            });
        }
        let timer = Arc::clone(engine);
        tasks.spawn(async move { timer.run_timer(|at| time::sleep_until(at.into())).await });
        Box::new(Tasks(tasks))
    }
}

struct Tasks(JoinSet<()>);

impl Tasks {
    async fn join_all(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

impl Crew for Tasks {
    fn join(mut self: Box<Self>, engine: Arc<Engine>) -> BoxFuture<'static, usize> {
        Box::pin(async move {
            if time::timeout(engine.grace(), self.join_all()).await.is_err() {
                self.0.abort_all();
                let _ = time::timeout(Engine::STRAGGLER_GRACE, self.join_all()).await;
            }
            self.0.len()
        })
    }
}
