//! Heap allocations a message on the whole memory path: publish, route, lane, handler, settle.
//!
//! On a runtime of one thread everything happens on the thread whose allocations are counted.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests may unwrap and print as tests do"
)]

use buslane::{Config, Envelope, Event, EventBus, Message, Record};
use buslane_actor::ActorPoolConfig;
use buslane_core::{ErasedHandler, Job, Kind, Pool, Settlement, Topic, erase};
use buslane_keyed::KeyedPoolConfig;
use buslane_testkit::pool_suite::kit::{lane, submit_all};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::runtime::{Builder, Runtime};

const BATCH: u64 = 256;
const BATCHES: u64 = 40;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn until_handled(bus: &EventBus, messages: u64) {
    while bus.pool_stats().ok < messages {
        tokio::task::yield_now().await;
    }
}

/// Allocations a message in the steady state: buffers of the first batches have been made before.
fn allocations_per_message(
    runtime: &Runtime,
    bus: &EventBus,
    mut publish: impl AsyncFnMut(&EventBus),
) -> f64 {
    let mut run = |batches: u64| {
        let before = bus.pool_stats().ok;
        runtime.block_on(async {
            for batch in 1..=batches {
                publish(bus).await;
                until_handled(bus, before + batch * BATCH).await;
            }
        });
    };
    run(BATCHES);
    let counted = allocation_counter::measure(|| run(BATCHES));
    let per_message = counted.count_total as f64 / (BATCHES * BATCH) as f64;
    println!("{per_message:.3} allocations a message");
    per_message
}

#[test]
fn t3_raw_messages_take_at_most_one_allocation() {
    let runtime = runtime();
    let bus = runtime.block_on(async {
        let bus = EventBus::connect(Config::default()).await.unwrap();
        bus.subscribe("cache", async |_: Message| {}).await.unwrap();
        bus
    });
    let (key, payload) = (Bytes::from("order-42"), Bytes::from(vec![7; 100]));
    let records: Vec<Record> =
        (0..BATCH).map(|_| Record::new(payload.clone()).with_key(key.clone())).collect();
    let counted = allocations_per_message(&runtime, &bus, async |bus: &EventBus| {
        for receipt in bus.publish_batch("cache", records.clone()).await.unwrap() {
            receipt.unwrap();
        }
    });
    assert!(counted <= 1.0, "{counted} allocations a message");
    runtime.block_on(bus.shutdown(Duration::from_secs(5))).unwrap();
}

#[test]
fn t3_envelopes_take_at_most_one_allocation() {
    let runtime = runtime();
    let bus = runtime.block_on(async {
        let bus = EventBus::connect(Config::default()).await.unwrap();
        bus.subscribe_envelopes("orders", async |_: Event| {}).await.unwrap();
        bus
    });
    let payload = serde_json::json!({ "total": 1990, "currency": "EUR" });
    let envelopes: Vec<Envelope> = (0..BATCH)
        .map(|n| Envelope::new(format!("order-{n}"), "OrderPlaced", &payload).unwrap())
        .collect();
    let counted = allocations_per_message(&runtime, &bus, async |bus: &EventBus| {
        for receipt in bus.publish_envelopes("orders", &envelopes).await.unwrap() {
            receipt.unwrap();
        }
    });
    assert!(counted <= 1.0, "{counted} allocations a message");
    runtime.block_on(bus.shutdown(Duration::from_secs(5))).unwrap();
}

/// A burst of 8,000 jobs of so many keys, and so many seconds of so many jobs behind it.
struct Burst {
    keys: u64,
    seconds: u64,
    jobs: u64,
}

impl Burst {
    /// Bytes that a pool holds at the end of it, beyond those that it held before.
    fn kept_by(&self, pool: impl FnOnce(Arc<dyn ErasedHandler>) -> Arc<dyn Pool>) -> i64 {
        let runtime =
            Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let handler = erase(Kind::Regular, async |_: Message| {
            tokio::time::sleep(Duration::from_millis(5)).await
        });
        let topic = Topic::new("orders").unwrap();
        let pool = runtime.block_on(async { pool(handler) });
        let handle = async |jobs: u64| {
            let end = pool.stats().ok + jobs;
            let job = |n| {
                Job::new(
                    lane(n % self.keys),
                    Message::new(topic.clone(), Vec::new()),
                    Settlement::ignored(),
                )
            };
            submit_all(&*pool, (0..jobs).map(job)).await;
            while pool.stats().ok < end {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        runtime.block_on(handle(500));
        let counted = allocation_counter::measure(|| {
            runtime.block_on(async {
                handle(8_000).await;
                for _ in 0..self.seconds {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    handle(self.jobs).await;
                }
            });
        });
        println!("{} bytes are kept", counted.bytes_current);
        runtime.block_on(async { pool.stop(Duration::from_secs(5)).await });
        counted.bytes_current
    }

    /// By the keyed pool and by the actor pool.
    fn kept(&self) -> [i64; 2] {
        let keyed = self.kept_by(|default_handler| {
            let default_handler = Some(default_handler);
            Arc::new(
                KeyedPoolConfig { workers: 256, default_handler, ..Default::default() }.start(),
            )
        });
        let actor = self.kept_by(|default_handler| {
            let default_handler = Some(default_handler);
            Arc::new(ActorPoolConfig { actors: 256, default_handler, ..Default::default() }.start())
        });
        [keyed, actor]
    }
}

#[test]
fn t5_what_a_burst_needed_is_given_back() {
    let kept = Burst { keys: 500, seconds: 30, jobs: 10 }.kept();
    // A job's box has more than 200 bytes: the burst took 1.6 MB, beside a queue of 16 bytes each.
    assert!(kept.into_iter().all(|bytes| bytes < 128_000), "{kept:?} bytes");
}

/// As a pool that all traffic was moved away from.
#[test]
fn t5_a_pool_without_traffic_keeps_nothing_of_a_burst() {
    let kept = Burst { keys: 8_000, seconds: 600, jobs: 0 }.kept();
    assert!(kept.into_iter().all(|bytes| bytes < 16_000), "{kept:?} bytes");
}
