//! Publishing records of envelopes: one by one, many at once, and in batches; by the bus and by the bare client.

use super::{Bare, BusSide, Load, bare::headers, server};
use crate::Cost;
use buslane::{EventBus, Record};
use rdkafka::{
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Runtime, task::JoinSet};

/// Records made beforehand and published again and again.
const MADE: u64 = 4_096;
/// Publishers that each have one record on its way.
const IN_FLIGHT: u64 = 1_000;
/// Publishers that each have one batch on its way, and its records.
const BATCHES: u64 = 4;
const BATCH: u64 = 2_500;

/// How records are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// The next one after the acknowledgement of the one before.
    Single,
    /// 1,000 publishers, each one by one.
    Flight,
    /// Four publishers of batches of 2,500.
    Batch,
}

impl Form {
    const fn publishers(self) -> u64 {
        match self {
            Self::Single => 1,
            Self::Flight => IN_FLIGHT,
            Self::Batch => BATCHES,
        }
    }
}

fn records() -> Arc<[Record]> {
    Load { messages: MADE, keys: 1_000, partitions: 1 }.records().collect()
}

/// The record with this number, from 0.
fn nth(records: &[Record], number: u64) -> &Record {
    &records[usize::try_from(number).unwrap_or(0) % records.len()]
}

impl BusSide {
    /// Publishes `messages` records on a bus.
    ///
    /// # Panics
    /// When the bus refuses one.
    #[must_use]
    pub fn publish(self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost {
        let bus = runtime.block_on(self.connect(&server()));
        let (records, topic): (_, Arc<str>) = (records(), topic.into());
        let publisher = |count| {
            let (bus, topic, records) = (bus.clone(), Arc::clone(&topic), Arc::clone(&records));
            async move {
                match form {
                    Form::Batch => batches(&bus, &topic, &records, count).await,
                    Form::Single | Form::Flight => one_by_one(&bus, &topic, &records, count).await,
                }
            }
        };
        let cost = publish(runtime, form, messages, publisher);
        runtime.block_on(bus.shutdown(Duration::from_secs(10))).expect("a bus shuts down");
        cost
    }
}

async fn one_by_one(bus: &EventBus, topic: &str, records: &[Record], count: u64) {
    for number in 0..count {
        bus.publish(topic, nth(records, number).clone()).await.expect("a receipt");
    }
}

async fn batches(bus: &EventBus, topic: &str, records: &[Record], count: u64) {
    for begin in (0..count).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let batch = (begin..count.min(begin + BATCH)).map(|number| nth(records, number).clone()).collect();
        let receipts = bus.publish_batch(topic, batch).await.expect("an open bus");
        receipts.into_iter().for_each(|receipt| drop(receipt.expect("a receipt")));
    }
}

impl Bare {
    /// Publishes `messages` records with the client alone: batches with `BaseProducer`, single ones with
    /// `FutureProducer`.
    ///
    /// # Panics
    /// When Kafka refuses one.
    #[must_use]
    pub fn publish(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost {
        let records = records();
        if form == Form::Batch {
            let producer = self.base_producer(topic);
            let all = (0..messages).map(|number| nth(&records, number).clone());
            return Cost::of(messages, || self.send_all(&producer, topic, all)).0;
        }
        let producer: FutureProducer = self.producer().create().expect("a client");
        let topic: Arc<str> = topic.into();
        let publisher = |count| {
            let (producer, topic, records) = (producer.clone(), Arc::clone(&topic), Arc::clone(&records));
            async move {
                for number in 0..count {
                    let record = nth(&records, number);
                    let key = record.key.as_deref().unwrap_or_default();
                    let message =
                        FutureRecord::to(&topic).payload(&record.payload[..]).key(key).headers(headers(record));
                    producer.send(message, Timeout::Never).await.expect("an acknowledgement");
                }
            }
        };
        publish(runtime, form, messages, publisher)
    }
}

/// Runs as many publishers as the form has, after one record that makes the connection.
fn publish<F>(runtime: &Runtime, form: Form, messages: u64, publisher: impl Fn(u64) -> F) -> Cost
where
    F: Future<Output = ()> + Send + 'static,
{
    let run = |publishers: u64, each: u64| {
        runtime.block_on(async {
            let all: JoinSet<()> = (0..publishers).map(|_| publisher(each)).collect();
            all.join_all().await;
        });
    };
    run(1, 1);
    let each = messages / form.publishers();
    Cost::of(each * form.publishers(), || run(form.publishers(), each)).0
}
