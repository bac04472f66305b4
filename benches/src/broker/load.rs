//! The load of a topic: envelopes of about 247 bytes with four headers and random keys; and topics
//! that exist for one figure.

use buslane::{Envelope, Record};
use bytes::BytesMut;
use serde_json::json;
use tokio::runtime::Runtime;

use super::Floor;
use crate::SplitMix64;

const SEED: u64 = 1;

/// A number of messages.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many.
    pub messages: u64,
    /// How many aggregates they are of.
    pub keys: u64,
    /// How many partitions their topic has, on Kafka.
    pub partitions: u32,
}

impl Load {
    /// The records, one after the other.
    ///
    /// # Panics
    /// Never: the envelopes are valid.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let payload =
            json!({ "total": 1990, "currency": "EUR", "sku": "sku-7", "customer": "c-123" });
        let mut arena = BytesMut::new();
        self.numbers().map(move |number| {
            let envelope = Envelope::new(key(number), "OrderPlaced", &payload).expect("JSON");
            Record::from_envelope(&envelope, &mut arena).expect("a valid envelope")
        })
    }

    /// How many messages the key has that has most of them.
    #[must_use]
    pub fn hottest(&self) -> u64 {
        self.counts().into_iter().max().unwrap_or(0)
    }

    /// The key that has fewest messages, and how many. When it gets stuck, all of them fit in its
    /// lane.
    #[must_use]
    pub fn coldest(&self) -> (String, u64) {
        let (number, count) =
            (0..).zip(self.counts()).min_by_key(|(_, count)| *count).unwrap_or((0, 0));
        (key(number), count)
    }

    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; usize::try_from(self.keys).unwrap_or(0)];
        for number in self.numbers() {
            counts[usize::try_from(number).unwrap_or(0)] += 1;
        }
        counts
    }

    fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let (mut random, keys) = (SplitMix64(SEED), self.keys);
        (0..self.messages).map(move |_| random.below(keys))
    }
}

fn key(number: u64) -> String {
    format!("order-{number}")
}

/// Deleted when it is dropped.
#[derive(Debug)]
pub struct FilledTopic<'a> {
    runtime: &'a Runtime,
    floor: &'a dyn Floor,
    name: String,
    load: Load,
}

impl<'a> FilledTopic<'a> {
    /// Makes the topic.
    ///
    /// # Panics
    /// When the broker refuses.
    #[must_use]
    pub fn empty(runtime: &'a Runtime, floor: &'a dyn Floor, load: Load) -> Self {
        let name = buslane_testkit::server::unique("limits");
        floor.create(runtime, &name, load.partitions);
        Self { runtime, floor, name, load }
    }

    /// Makes the topic and publishes the load.
    ///
    /// # Panics
    /// When the broker refuses.
    #[must_use]
    pub fn new(runtime: &'a Runtime, floor: &'a dyn Floor, load: Load) -> Self {
        let topic = Self::empty(runtime, floor, load);
        floor.fill(runtime, &topic.name, &mut load.records());
        topic
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its load.
    #[must_use]
    pub const fn load(&self) -> Load {
        self.load
    }
}

impl Drop for FilledTopic<'_> {
    fn drop(&mut self) {
        self.floor.delete(self.runtime, &self.name);
    }
}
