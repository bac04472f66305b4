//! The bus on a real Kafka keeps the promises with both pools.

use buslane::{Config, Topic};
use buslane_core::{BoxFuture, Broker, TopicSettings};
use buslane_kafka::{ConsumerConfig, KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{
    broker_suite::MemberSpec,
    bus_suite::{BusFixture, Capabilities},
    server,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{sync::Arc, time::Duration};

const PARTITIONS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(30);

struct Kafka {
    brokers: String,
    /// Of this fixture alone: all share one broker.
    tag: String,
}

impl Kafka {
    fn new() -> Self {
        Self { brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"), tag: server::unique("t") }
    }
}

impl BusFixture for Kafka {
    fn capabilities(&self) -> Capabilities {
        Capabilities { patience: PATIENCE, unmet: &[], ..Capabilities::default() }
    }

    fn config(&self) -> Config {
        Config::default()
    }

    fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>> {
        let config = KafkaConfig {
            brokers: self.brokers.clone(),
            group: spec.group,
            consumer: ConsumerConfig {
                drain_deadline: spec.drain_deadline,
                session_timeout: Duration::from_secs(6),
                heartbeat_interval: Duration::from_millis(500),
                commit_interval: Duration::from_millis(100),
                ..ConsumerConfig::default()
            },
            producer: ProducerConfig {
                publish_timeout: spec.publish_timeout,
                max_message_bytes: 4_000_000,
                ..ProducerConfig::default()
            },
            create_missing: Some(TopicSettings { partitions: Some(PARTITIONS), ..TopicSettings::default() }),
            ..KafkaConfig::default()
        };
        Box::pin(async move {
            Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers")) as Arc<dyn Broker>
        })
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.tag)
    }

    fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64> {
        let (brokers, group, topic) = (self.brokers.clone(), group.to_owned(), topic.clone());
        Box::pin(async move {
            tokio::task::spawn_blocking(move || behind(&brokers, &group, &topic)).await.expect("no panic")
        })
    }
}

/// Messages from the committed offsets to the ends.
fn behind(brokers: &str, group: &str, topic: &str) -> u64 {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .create()
        .expect("a client for questions");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition(topic, i32::try_from(partition).expect("few partitions"));
    }
    let committed = client.committed_offsets(list, PATIENCE).expect("an answer");
    let mut sum = 0;
    for element in committed.elements() {
        let (low, high) = client.fetch_watermarks(topic, element.partition(), PATIENCE).unwrap_or((0, 0));
        let from = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => low,
        };
        sum += u64::try_from(high - from).unwrap_or(0);
    }
    sum
}

buslane_testkit::bus_suite!(Kafka::new());
