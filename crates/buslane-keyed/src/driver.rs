//! The driver: one tokio task a worker, one for the retry timer.

use crate::KeyedPoolConfig;
use buslane_core::BoxFuture;
use buslane_pools::{Crew, Driver, Engine, EngineConfig, OnPanic, PoolSpec, Worker, WorkerPool};
use std::sync::Arc;
use tokio::{runtime::Handle, task::JoinSet, time};

impl KeyedPoolConfig {
    /// The pool before it is built, for [`Pools`](buslane_pools::Pools).
    ///
    /// # Panics
    /// Outside of a tokio runtime, and for a configuration with no workers.
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
