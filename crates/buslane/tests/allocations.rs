//! Heap allocations a message on the whole memory path: publish, route, lane, handler, settle.
//!
//! On a runtime of one thread everything happens on the thread whose allocations are counted.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests may unwrap and print as tests do")]

use buslane::{Config, Envelope, Event, EventBus, Message, Record};
use bytes::Bytes;
use std::time::Duration;
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
fn allocations_per_message(runtime: &Runtime, bus: &EventBus, mut publish: impl AsyncFnMut(&EventBus)) -> f64 {
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
    let records: Vec<Record> = (0..BATCH).map(|_| Record::new(payload.clone()).with_key(key.clone())).collect();
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
    let envelopes: Vec<Envelope> =
        (0..BATCH).map(|n| Envelope::new(format!("order-{n}"), "OrderPlaced", &payload).unwrap()).collect();
    let counted = allocations_per_message(&runtime, &bus, async |bus: &EventBus| {
        for receipt in bus.publish_envelopes("orders", &envelopes).await.unwrap() {
            receipt.unwrap();
        }
    });
    assert!(counted <= 1.0, "{counted} allocations a message");
    runtime.block_on(bus.shutdown(Duration::from_secs(5))).unwrap();
}
