//! Publishing with the client alone: batches with `BaseProducer`, single records with
//! `FutureProducer`.

use super::{Bare, bare::headers};
use crate::{
    Cost,
    broker::{Form, Made, publish},
};
use rdkafka::{
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use std::{ops::Range, sync::Arc};
use tokio::runtime::Runtime;

/// Different records.
pub(super) const MADE: u64 = 4_096;

impl Bare {
    pub(super) fn publish_records(
        &self,
        runtime: &Runtime,
        topic: &str,
        form: Form,
        messages: u64,
    ) -> Cost {
        let made = Made::new(MADE);
        if form == Form::Batch {
            let producer = self.base_producer(topic);
            let all = (0..messages).map(|number| made.nth(number).clone());
            return Cost::of(messages, || self.send_all(&producer, topic, all)).0;
        }
        let producer: FutureProducer = self.producer().create().expect("a client");
        let topic: Arc<str> = topic.into();
        let publisher = |numbers: Range<u64>| {
            let (producer, topic, made) = (producer.clone(), Arc::clone(&topic), made.clone());
            async move {
                for number in numbers {
                    let record = made.nth(number);
                    let key = record.key.as_deref().unwrap_or_default();
                    let message = FutureRecord::to(&topic)
                        .payload(&record.payload[..])
                        .key(key)
                        .headers(headers(record));
                    producer.send(message, Timeout::Never).await.expect("an acknowledgement");
                }
            }
        };
        publish(runtime, form, messages, publisher)
    }
}
