//! A pool of the program's own: handlers compute on a runtime of their own, so that the one with
//! the broker's client always answers. `cargo run --example own_runtime`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{Config, Envelope, Event, EventBus, Pool};
use buslane_core::BoxFuture;
use buslane_keyed::KeyedPoolConfig;
use buslane_pools::{Crew, Driver, Engine, OnPanic, PoolSpec, Worker};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
    time::{sleep_until, timeout},
};

/// A pool whose workers are tasks of another runtime. Lanes, bounds, retries and the stop are those
/// of every pool.
pub(crate) fn pool_on(runtime: Handle, config: KeyedPoolConfig) -> Arc<dyn Pool> {
    let mut spec = config.spec();
    spec.engine.parallelism = runtime.metrics().num_workers();
    Arc::new(PoolSpec { driver: Arc::new(OnRuntime(runtime)), ..spec }.start())
}

struct OnRuntime(Handle);

impl Driver for OnRuntime {
    fn name(&self) -> &'static str {
        "own_runtime"
    }

    fn start(&self, engine: &Arc<Engine>) -> Box<dyn Crew> {
        let mut tasks = JoinSet::new();
        for index in 0..engine.workers() {
            let mut worker = Worker::new(Arc::clone(engine), index);
            let run = async move { worker.run(OnPanic::GoOn).await.unwrap_or_default() };
            tasks.spawn_on(run, &self.0);
        }
        let timer = Arc::clone(engine);
        tasks.spawn_on(async move { timer.run_timer(|at| sleep_until(at.into())).await }, &self.0);
        Box::new(Tasks(tasks))
    }
}

struct Tasks(JoinSet<()>);

impl Tasks {
    async fn join_within(&mut self, limit: Duration) {
        let _ = timeout(limit, async { while self.0.join_next().await.is_some() {} }).await;
    }
}

impl Crew for Tasks {
    fn join(mut self: Box<Self>, engine: Arc<Engine>) -> BoxFuture<'static, usize> {
        Box::pin(async move {
            self.join_within(engine.grace()).await;
            self.0.abort_all();
            self.join_within(Engine::STRAGGLER_GRACE).await;
            self.0.len()
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let handlers = Builder::new_multi_thread().enable_all().thread_name("handler").build()?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let pool = pool_on(handlers.handle().clone(), KeyedPoolConfig::default());
        let bus = EventBus::builder(Config::default()).pool(pool).connect().await?;
        bus.subscribe_envelopes("orders", async |event: Event| {
            println!("{}: {:?}", event.aggregate_id, std::thread::current().name());
        })
        .await?;
        let placed = Envelope::new("order-42", "OrderPlaced", &1990)?;
        bus.publish_envelope("orders", placed).await?;
        let drained = bus.drained(Duration::from_secs(10)).await?;
        assert!(drained.is_complete(), "left: {:?}", drained.left);
        bus.shutdown(Duration::from_secs(10)).await?;
        Ok(())
    })
}
