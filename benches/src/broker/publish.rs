//! Publishing records of envelopes: one by one, many at once, and in batches.

use super::{BusSide, Floor, Form, Load};
use crate::Cost;
use buslane::{EventBus, Record};
use std::{ops::Range, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, task::JoinSet};

/// Publishers that each have one record on its way.
const IN_FLIGHT: u64 = 1_000;
/// Publishers that each have one batch on its way, and its records.
const BATCHES: u64 = 4;
const BATCH: u64 = 2_500;

impl Form {
    const fn publishers(self) -> u64 {
        match self {
            Self::Single => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
            Self::Flight => IN_FLIGHT,
            Self::Batch => BATCHES,
        }
    }
}

/// Records made beforehand, and published again and again where that makes no difference.
#[derive(Debug, Clone)]
pub(crate) struct Made(Arc<[Record]>);

impl Made {
    /// Number of different records.
    pub(crate) fn new(different: u64) -> Self {
        Self(Load { messages: different, keys: 1_000, partitions: 1 }.records().collect())
    }

    /// The record with this number, from 0.
    pub(crate) fn nth(&self, number: u64) -> &Record {
        &self.0[usize::try_from(number).unwrap_or(0) % self.0.len()]
    }
}

impl BusSide {
    /// Publishes `messages` records on a bus.
    ///
    /// # Panics
    /// When the bus refuses one.
    #[must_use]
    pub fn publish(
        self,
        runtime: &Runtime,
        floor: &dyn Floor,
        topic: &str,
        form: Form,
        messages: u64,
    ) -> Cost {
        let bus = runtime.block_on(self.connect(floor));
        let (made, topic): (_, Arc<str>) = (Made::new(floor.different(messages)), topic.into());
        let publisher = |numbers| {
            let (bus, topic, made) = (bus.clone(), Arc::clone(&topic), made.clone());
            async move {
                match form {
                    Form::Batch => batches(&bus, &topic, &made, numbers).await,
                    _ => one_by_one(&bus, &topic, &made, numbers).await,
                }
            }
        };
        let cost = publish(runtime, form, messages, publisher);
        runtime.block_on(bus.shutdown(Duration::from_secs(10))).expect("a bus shuts down");
        cost
    }
}

async fn one_by_one(bus: &EventBus, topic: &str, made: &Made, numbers: Range<u64>) {
    for number in numbers {
        let receipt = bus.publish(topic, made.nth(number).clone()).await.expect("a receipt");
        assert!(!receipt.duplicate, "{topic}: record {number} was not stored");
    }
}

async fn batches(bus: &EventBus, topic: &str, made: &Made, numbers: Range<u64>) {
    for begin in numbers.clone().step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let batch = (begin..numbers.end.min(begin + BATCH))
            .map(|number| made.nth(number).clone())
            .collect();
        let receipts = bus.publish_batch(topic, batch).await.expect("an open bus");
        receipts.into_iter().for_each(|receipt| drop(receipt.expect("a receipt")));
    }
}

/// Runs as many publishers as the form has, each with its own numbers, after one record that makes
/// the connection.
pub(crate) fn publish<F>(
    runtime: &Runtime,
    form: Form,
    messages: u64,
    publisher: impl Fn(Range<u64>) -> F,
) -> Cost
where
    F: Future<Output = ()> + Send + 'static,
{
    let each = messages / form.publishers();
    let all = each * form.publishers();
    runtime.block_on(publisher(all..all + 1));
    let run = || {
        runtime.block_on(async {
            let ours = |number| publisher(number * each..(number + 1) * each);
            let publishers: JoinSet<()> = (0..form.publishers()).map(ours).collect();
            publishers.join_all().await;
        });
    };
    Cost::of(all, run).0
}
