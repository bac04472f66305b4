//! The client alone, which is the limit. It has the settings that the bus gives it, where they decide how fast it is.

use crate::Cost;
use buslane::Record;
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Clients of one Kafka.
#[derive(Debug)]
pub struct Bare {
    server: String,
}

impl Bare {
    /// Clients of the Kafka at `server`.
    #[must_use]
    pub fn new(server: &str) -> Self {
        Self { server: server.to_owned() }
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.server).set("socket.nagle.disable", "true");
        config
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("linger.ms", "0").set("partitioner", "fnv1a_random");
        config
    }

    /// A member of a group of its own that reads a topic from the start.
    pub(super) fn consumer(&self, topic: &str) -> BaseConsumer {
        let mut config = self.client();
        config
            .set("group.id", buslane_testkit::server::unique("bare"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.min.messages", "5000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "5");
        let consumer: BaseConsumer = config.create().expect("a client");
        consumer.subscribe(&[topic]).expect("a good topic");
        consumer
    }

    /// Polls `messages` messages; measured from the first one.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn poll(&self, topic: &str, messages: u64) -> Cost {
        let consumer = self.consumer(topic);
        let begun = Instant::now();
        // The client also answers nothing, at once, when it has served an event.
        let next = || loop {
            match consumer.poll(PATIENCE) {
                Some(message) => {
                    black_box(message.expect("a message").payload());
                    break;
                }
                None => assert!(begun.elapsed() < PATIENCE, "messages are missing"),
            }
        };
        next();
        Cost::of(messages, || (1..messages).for_each(|_| next())).0
    }

    /// A producer of batches, connected.
    pub(super) fn base_producer(&self, topic: &str) -> BaseProducer {
        let producer: BaseProducer = self.producer().create().expect("a client");
        producer.client().fetch_metadata(Some(topic), PATIENCE).expect("a broker that answers");
        producer
    }

    /// Publishes records and waits for all acknowledgements.
    ///
    /// # Panics
    /// When Kafka refuses one.
    pub(super) fn send_all(&self, producer: &BaseProducer, topic: &str, records: impl Iterator<Item = Record>) {
        for record in records {
            let mut message = bare_record(topic, &record);
            while let Err((error, back)) = producer.send(message) {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{topic}: {error}");
                producer.poll(Duration::from_millis(10));
                message = back;
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(PATIENCE).expect("acknowledgements");
    }
}

fn bare_record<'a>(topic: &'a str, record: &'a Record) -> BaseRecord<'a, [u8], [u8]> {
    let message = BaseRecord::to(topic).payload(&record.payload[..]).headers(headers(record));
    match &record.key {
        Some(key) => message.key(&key[..]),
        None => message,
    }
}

/// The headers as the client takes them.
pub(super) fn headers(record: &Record) -> OwnedHeaders {
    let count = record.headers.iter().count();
    let headers = OwnedHeaders::new_with_capacity(count);
    record.headers.iter().fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}
