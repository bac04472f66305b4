//! Bare clients of a real Kafka, which are the limit: settings as the bus gives them, where they
//! decide the speed.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use buslane::config::{ActorPoolConfig, KeyedPoolConfig};
use buslane::{Config, Record};
use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use super::Cost;
use super::broker::{Arrivals, Echo, Floor, Form, Made, publish};

/// The address of the Kafka.
///
/// # Panics
/// When the environment does not say it.
#[must_use]
pub fn server() -> String {
    buslane_testkit::server::address("KAFKA_BOOTSTRAP_SERVERS")
}

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
        Self { server: server() }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a client")
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.server).set("socket.nagle.disable", "true");
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("partitioner", "fnv1a_random");
        config
    }

    /// A member of a group of its own that reads a topic from the start.
    fn consumer(&self, topic: &str) -> BaseConsumer {
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
    fn base_producer(&self, topic: &str) -> BaseProducer {
        let producer: BaseProducer = self.producer().create().expect("a client");
        producer.client().fetch_metadata(Some(topic), PATIENCE).expect("a broker that answers");
        producer
    }

    /// Publishes records and waits for all acknowledgements.
    ///
    /// # Panics
    /// When Kafka refuses one.
    fn send_all(
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
fn headers(record: &Record) -> OwnedHeaders {
    let count = record.headers.iter().count();
    let headers = OwnedHeaders::new_with_capacity(count);
    record
        .headers
        .iter()
        .fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

impl Bare {
    fn echo_of(&self, topic: &str, log: &Arc<Arrivals>) -> Echo {
        let producer: FutureProducer = self.producer().create().expect("a client");
        let over = Arc::new(AtomicBool::new(false));
        let (consumer, until, log) = (self.consumer(topic), Arc::clone(&over), Arc::clone(log));
        let polling = thread::spawn(move || {
            while !until.load(Relaxed) {
                if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    log.arrive(message.expect("a message").payload().unwrap_or_default());
                }
            }
        });
        let topic = topic.to_owned();
        Echo {
            publish: Box::new(move |body| {
                let (producer, topic) = (producer.clone(), topic.clone());
                Box::pin(async move {
                    let record = FutureRecord::to(&topic).payload(&body).key("order-1");
                    producer.send(record, Timeout::Never).await.expect("an acknowledgement");
                })
            }),
            end: Box::new(move || {
                over.store(true, Relaxed);
                polling.join().expect("the bare consumer ends");
            }),
        }
    }
}

/// Different records.
const MADE: u64 = 4_096;

impl Bare {
    fn publish_records(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost {
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

impl Bare {
    fn stored_in(&self, topic: &str, partitions: u32) -> Vec<Bytes> {
        let mut config = self.client();
        config.set("group.id", "looks-only").set("enable.partition.eof", "true");
        let client: BaseConsumer = config.create().expect("a client");
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions.cast_signed() {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        client.assign(&all).expect("an assignment");
        let (mut bodies, mut ends) = (Vec::new(), 0);
        while ends < partitions {
            match client.poll(PATIENCE).expect("messages, or the end of a partition") {
                Ok(message) => {
                    bodies.push(Bytes::copy_from_slice(message.payload().unwrap_or_default()))
                }
                Err(KafkaError::PartitionEOF(_)) => ends += 1,
                Err(error) => panic!("{error}"),
            }
        }
        bodies
    }
}
