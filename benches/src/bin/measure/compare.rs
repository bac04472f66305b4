//! One side of a comparison: runs the same work on one pool and prints one JSON line. SPEC: T1.
//!
//! Three parts on one pool: a batch load measures throughput; an open loop at an easy rate measures
//! latency, which in the first part depends on the length of the queue; a backlog behind handlers
//! that wait measures the memory of a pool with work.

use buslane_benches::{
    Cost, Keys, MakePool, PacedLoad, PoolLoad, actor_pool,
    broker::{BrokerKind, BusSide, Floor, Pool as BusPool},
    keyed_pool, noop, peak_rss_bytes, two_threads, yielding,
};
use buslane_core::{Kind, Message, Pool, erase};
use buslane_keyed::Mode;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Runtime, sync::Semaphore};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which pool
    #[arg(long)]
    pool: Side,
    /// The same seed makes the same work
    #[arg(long)]
    seed: u64,
    /// A topic that is filled: compare buses on it instead of pools alone
    #[arg(long, requires = "broker")]
    topic: Option<String>,
    /// Where the topic is: on the broker of this kind that the environment names
    #[arg(long)]
    broker: Option<BrokerKind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Side {
    Keyed,
    Actor,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Keyed => "keyed",
            Self::Actor => "actor",
        }
    }

    fn make(self) -> &'static MakePool {
        match self {
            Self::Keyed => &keyed_pool,
            Self::Actor => &actor_pool,
        }
    }
}

const MESSAGES: u64 = 1_000_000;
const KEYS: u64 = 1_000;
const BACKLOG: u64 = 200_000;

/// Lets jobs pile up behind handlers that wait, then releases them.
async fn backlog(pool: Arc<dyn Pool>, seed: u64) {
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = Arc::clone(&gate);
    let handler = erase(Kind::Regular, move |_: Message| {
        let gate = Arc::clone(&handler_gate);
        async move { drop(gate.acquire().await) }
    });
    let load = PoolLoad { messages: BACKLOG, keys: Keys::InTurn(KEYS), batch: 256, seed };
    load.try_submit(&*pool, &handler);
    gate.close();
    while pool.stats().open > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The pool alone.
fn pool(side: Side, seed: u64, runtime: &Runtime) -> (Cost, Vec<u64>) {
    let pool = {
        let _inside = runtime.enter();
        (side.make())(Mode::Exclusive)
    };
    let load = PoolLoad { messages: MESSAGES, keys: Keys::Random(KEYS), batch: 256, seed };
    let all = Arc::clone(&pool);
    let (cost, ended) = Cost::of(MESSAGES, || {
        runtime.block_on(runtime.spawn(async move {
            load.submit(&*all, None).await;
            while all.stats().open > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }))
    });
    ended.expect("the batch load ends");
    let paced = PacedLoad {
        every: Duration::from_millis(1),
        bursts: 4_000,
        burst: 100,
        keys: KEYS,
        // Most handlers do nothing; one in four yields once, as a handler that waits does.
        handlers: vec![
            noop(Kind::Regular),
            noop(Kind::Envelope),
            noop(Kind::Regular),
            yielding(Kind::Envelope),
        ],
        slow: None,
        seed,
    };
    let open_loop = Arc::clone(&pool);
    let times = runtime.block_on(runtime.spawn(async move { paced.run(&*open_loop).await }));
    runtime.block_on(runtime.spawn(backlog(Arc::clone(&pool), seed))).expect("the backlog ends");
    runtime.block_on(async { pool.stop(Duration::from_secs(10)).await });
    (cost, times.expect("the open loop ends"))
}

/// The bus on a broker. All sides read the same topic, so the seed changes nothing.
fn bus(side: Side, floor: &dyn Floor, topic: &str, runtime: &Runtime) -> (Cost, Vec<u64>) {
    let pool = match side {
        Side::Keyed => BusPool::Keyed,
        Side::Actor => BusPool::Actor,
    };
    BusSide { pool, workers: 256, recovery: false }.compare(runtime, floor, topic, MESSAGES)
}

impl Args {
    pub(crate) fn run(self) {
        let Self { pool: side, seed, topic, broker } = self;
        let runtime = two_threads();
        let (cost, times) = match topic.zip(broker) {
            Some((topic, broker)) => bus(side, &*broker.floor(), &topic, &runtime),
            None => pool(side, seed, &runtime),
        };
        let mut histogram =
            Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("good bounds");
        for time in times {
            histogram.saturating_record(time);
        }
        let microseconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6;
        let at = |percent| microseconds(histogram.value_at_percentile(percent));
        let bars: Vec<_> = histogram
            .iter_recorded()
            .map(|bar| json!([microseconds(bar.value_iterated_to()), bar.count_at_value()]))
            .collect();
        let line = json!({
            "pool": side.name(),
            "messages": cost.messages,
            "seconds": cost.wall.as_secs_f64(),
            "throughput_per_second": cost.rate(),
            "p50_us": at(50.0),
            "p99_us": at(99.0),
            "p999_us": at(99.9),
            "peak_rss_bytes": peak_rss_bytes(),
            "histogram": bars,
        });
        println!("{line}");
    }
}
