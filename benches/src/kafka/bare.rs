//! The client alone, which is the limit. It has the settings that the bus gives it, where they
//! decide how fast it is.

use super::publish::MADE;
use crate::{
    Cost,
    broker::{Arrivals, Echo, Floor, Form},
};
use buslane::{
    Config, Record,
    config::{ActorPoolConfig, KeyedPoolConfig},
};
use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

/// Clients of one Kafka.
#[derive(Debug)]
pub struct Bare {
    server: String,
}

impl Bare {
    /// Clients of the Kafka that the environment names.
    ///
    /// # Panics
    /// When it names none.
    #[must_use]
    pub fn of_environment() -> Self {
        Self { server: super::server() }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a client")
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.server).set("socket.nagle.disable", "true");
        config
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("partitioner", "fnv1a_random");
        config
    }

    /// A member of a group of its own that reads a topic from the start.
    pub(super) fn consumer(&self, topic: &str) -> BaseConsumer {
        let mut config = self.client();
        config
            .set("group.id", buslane_testkit::server::unique("bare"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "50")
            .set("queued.min.messages", "2000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "5");
        let consumer: BaseConsumer = config.create().expect("a client");
        consumer.subscribe(&[topic]).expect("a good topic");
        consumer
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
    pub(super) fn send_all(
        &self,
        producer: &BaseProducer,
        topic: &str,
        records: impl Iterator<Item = Record>,
    ) {
        for record in records {
            let mut message = bare_record(topic, &record);
            while let Err((error, back)) = producer.send(message) {
                assert_eq!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::QueueFull),
                    "{topic}: {error}"
                );
                producer.poll(Duration::from_millis(10));
                message = back;
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(PATIENCE).expect("acknowledgements");
    }
}

impl Floor for Bare {
    fn url(&self) -> String {
        format!("kafka://{}", self.server)
    }

    fn pools<'a>(
        &self,
        config: &'a mut Config,
    ) -> (&'a mut KeyedPoolConfig, &'a mut ActorPoolConfig) {
        (&mut config.kafka.keyed_pool, &mut config.kafka.actor_pool)
    }

    fn create(&self, runtime: &Runtime, topic: &str, partitions: u32) {
        let _inside = runtime.enter();
        let partitions = i32::try_from(partitions).expect("a number of partitions");
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = runtime
            .block_on(self.admin().create_topics([&topic], &AdminOptions::new()))
            .expect("an answer");
        made.into_iter().for_each(|topic| drop(topic.expect("a topic")));
    }

    fn fill(&self, _: &Runtime, topic: &str, records: &mut dyn Iterator<Item = Record>) {
        self.send_all(&self.base_producer(topic), topic, records);
    }

    fn delete(&self, runtime: &Runtime, topic: &str) {
        let _inside = runtime.enter();
        let _ = runtime.block_on(self.admin().delete_topics(&[topic], &AdminOptions::new()));
    }

    fn read(&self, _: &Runtime, topic: &str, messages: u64) -> Cost {
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

    fn stored(&self, _: &Runtime, topic: &str, partitions: u32) -> Vec<Bytes> {
        self.stored_in(topic, partitions)
    }

    fn different(&self, _: u64) -> u64 {
        MADE
    }

    fn publish(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost {
        self.publish_records(runtime, topic, form, messages)
    }

    fn echo(&self, _: &Runtime, topic: &str, log: &Arc<Arrivals>) -> Echo {
        self.echo_of(topic, log)
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
    record
        .headers
        .iter()
        .fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}
