//! The whole memory bus: publish to settled, with a handler that does nothing.

use crate::Cost;
use buslane::{Config, Envelope, Event, EventBus, Message, Record, metrics::SECONDS_BUCKETS};
use bytes::Bytes;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Regular messages of 100 bytes with a key.
    Raw,
    /// Envelopes of about 225 bytes.
    Envelope,
}

/// Messages a batch.
pub const BATCH: u64 = 256;
/// Envelopes made beforehand and published again and again.
const MADE: u64 = 16 * BATCH;
/// Records that a partition holds, which bounds how far publishing runs ahead of handling.
const AHEAD: usize = 1_024;
const TOPIC: &str = "orders";

/// A load for a bus with one subscription.
#[derive(Debug, Clone, Copy)]
pub struct BusLoad {
    /// Messages, rounded down to whole batches.
    pub messages: u64,
    /// Aggregates.
    pub keys: u64,
    /// What they are.
    pub body: Body,
}

/// A bus on an embedded broker of its own, subscribed with a handler that does nothing.
///
/// # Panics
/// When the bus refuses.
#[must_use]
pub fn noop_bus(runtime: &Runtime, actors: bool, body: Body) -> EventBus {
    runtime.block_on(async {
        let mut config = Config::default();
        config.memory.actor_pool.enabled = actors;
        config.memory.max_messages = AHEAD;
        let bus = EventBus::connect(config).await.expect("a bus connects");
        match body {
            Body::Raw => bus.subscribe(TOPIC, async |_: Message| {}).await,
            Body::Envelope => bus.subscribe_envelopes(TOPIC, async |_: Event| {}).await,
        }
        .expect("a bus subscribes");
        bus
    })
}

impl BusLoad {
    /// Publishes everything and waits until the last message is settled; the bus is shut down
    /// after.
    ///
    /// # Panics
    /// When the bus refuses a message.
    #[must_use]
    pub fn run(self, runtime: &Runtime, actors: bool) -> Cost {
        let bus = noop_bus(runtime, actors, self.body);
        let batches = Batches::new(self);
        let work = bus.clone();
        let messages = self.messages / BATCH * BATCH;
        let (cost, ()) = Cost::of(messages, || {
            runtime
                .block_on(runtime.spawn(async move {
                    for number in 0..messages / BATCH {
                        batches.publish(&work, number).await;
                    }
                    while work.pool_stats().ok < messages {
                        tokio::time::sleep(Duration::from_micros(100)).await;
                    }
                }))
                .expect("the load ends");
        });
        runtime.block_on(bus.shutdown(Duration::from_secs(5))).expect("a bus shuts down");
        cost
    }
}

impl BusLoad {
    /// As [`BusLoad::run`], with a recorder that keeps what the bus records, and a page rendered at
    /// the end, which is a part of the time.
    ///
    /// # Panics
    /// When the bus refuses a message, or the page says another number of messages.
    #[must_use]
    pub fn run_recorded(self, runtime: &Runtime, actors: bool) -> Cost {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .expect("there are buckets")
            .build_recorder();
        // The handles are bound on this thread.
        let mut cost = metrics::with_local_recorder(&recorder, || self.run(runtime, actors));
        let rendering = Instant::now();
        let page = recorder.handle().render();
        cost.wall += rendering.elapsed();
        let consumed = page
            .lines()
            .filter(|line| line.starts_with("memory_eventbus_messages_consumed_total{"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum::<u64>();
        assert_eq!(consumed, cost.messages, "{page}");
        cost
    }
}

/// What is published, made beforehand.
pub struct Batches {
    records: Vec<Vec<Record>>,
    envelopes: Vec<Vec<Envelope>>,
}

impl Batches {
    /// The batches of a load.
    ///
    /// # Panics
    /// Never: the payload is JSON.
    #[must_use]
    pub fn new(load: BusLoad) -> Self {
        let key = |number: u64| format!("order-{}", number.wrapping_mul(7_919) % load.keys);
        let payload = json!({ "total": 1990, "currency": "EUR", "sku": "sku-7" });
        let batch_of = |first: u64| first * BATCH..(first + 1) * BATCH;
        let (mut records, mut envelopes) = (Vec::new(), Vec::new());
        for first in 0..MADE / BATCH {
            match load.body {
                Body::Raw => {
                    let body = Bytes::from_static(&[7; 100]);
                    let record = |number| Record::new(body.clone()).with_key(key(number));
                    records.push(batch_of(first).map(record).collect());
                }
                Body::Envelope => {
                    let envelope =
                        |number| Envelope::new(key(number), "OrderPlaced", &payload).expect("JSON");
                    envelopes.push(batch_of(first).map(envelope).collect());
                }
            }
        }
        Self { records, envelopes }
    }

    /// Publishes the batch `number`.
    ///
    /// # Panics
    /// When the bus refuses a message.
    pub async fn publish(&self, bus: &EventBus, number: u64) {
        let at = usize::try_from(number % (MADE / BATCH)).unwrap_or(0);
        let receipts = match self.records.get(at) {
            Some(records) => bus.publish_batch(TOPIC, records.clone()).await,
            None => bus.publish_envelopes(TOPIC, &self.envelopes[at]).await,
        };
        receipts
            .expect("the bus is open")
            .into_iter()
            .for_each(|receipt| drop(receipt.expect("it is stored")));
    }
}
