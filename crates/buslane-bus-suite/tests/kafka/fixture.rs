//! Buses on a cluster that speaks Kafka, and the state of the cluster as a foreign client sees it.

use buslane::{Config, Topic};
use buslane_bus_suite::{BusFixture, Capabilities, Fault};
use buslane_core::{BoxFuture, Broker};
use buslane_kafka::{Assignment, ConsumerConfig, KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{broker_suite::MemberSpec, deadline::SILENCE};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PARTITIONS: u32 = 8;
const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

/// Creates a topic on a cluster that creates none by itself.
pub(crate) type MakeTopic = Box<dyn Fn(&str, u32) + Send + Sync>;

pub(crate) struct Kafka {
    pub(crate) brokers: String,
    /// Unique to this fixture, because all fixtures share one broker.
    pub(crate) tag: String,
    pub(crate) assignment: Assignment,
    pub(crate) unmet: &'static [(&'static str, &'static str)],
    /// `None` where the adapter creates topics.
    pub(crate) make_topic: Option<MakeTopic>,
}

impl BusFixture for Kafka {
    fn capabilities(&self) -> Capabilities {
        Capabilities { unmet: self.unmet, ..Capabilities::default() }
    }

    fn config(&self) -> Config {
        Config::default()
    }

    fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>> {
        let config = KafkaConfig {
            brokers: self.brokers.clone(),
            group: spec.group,
            consumer: ConsumerConfig {
                assignment: self.assignment,
                drain_deadline: spec.drain_deadline,
                session_timeout: SILENCE,
                heartbeat_interval: Duration::from_millis(500),
                commit_interval: Duration::from_millis(100),
                ..ConsumerConfig::default()
            },
            connect_timeout: PATIENCE,
            request_timeout: PATIENCE,
            producer: ProducerConfig {
                publish_timeout: spec.publish_timeout,
                max_message_bytes: 4_000_000,
                ..ProducerConfig::default()
            },
            create_missing: self.make_topic.is_none().then(|| buslane_kafka::TopicConfig {
                partitions: Some(PARTITIONS),
                ..Default::default()
            }),
            ..KafkaConfig::default()
        };
        Box::pin(async move {
            Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"))
                as Arc<dyn Broker>
        })
    }

    fn name(&self, what: &str) -> String {
        let name = format!("{what}-{}", self.tag);
        if let Some(make) = &self.make_topic {
            make(&name, PARTITIONS);
        }
        name
    }

    fn fault(&self, fault: Fault) -> BoxFuture<'_, bool> {
        let Fault::Rebalance(group) = fault else { return Box::pin(async { false }) };
        let (brokers, topics) = (self.brokers.clone(), format!("^.*-{}$", self.tag));
        let strategy = match self.assignment {
            Assignment::CooperativeSticky => {
                ("partition.assignment.strategy", "cooperative-sticky")
            }
            Assignment::Broker => ("group.protocol", "consumer"),
            Assignment::RoundRobin => ("partition.assignment.strategy", "roundrobin"),
            Assignment::Range => ("partition.assignment.strategy", "range"),
        };
        Box::pin(async move {
            let visit = move || visit(&brokers, &group, &topics, strategy);
            tokio::task::spawn_blocking(visit).await.expect("no panic");
            true
        })
    }

    fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64> {
        let (brokers, group, topic) = (self.brokers.clone(), group.to_owned(), topic.clone());
        Box::pin(async move {
            tokio::task::spawn_blocking(move || behind(&brokers, &group, &topic))
                .await
                .expect("no panic")
        })
    }
}

/// Joins as a member, waits for a share of the partitions, reads nothing and leaves.
fn visit(brokers: &str, group: &str, topics: &str, strategy: (&str, &str)) {
    let mut client = ClientConfig::new();
    if strategy.0 != "group.protocol" {
        client.set("heartbeat.interval.ms", "100");
    }
    let visitor: BaseConsumer = client
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set(strategy.0, strategy.1)
        .create()
        .expect("a client");
    visitor.subscribe(&[topics]).expect("a good pattern");
    let deadline = Instant::now() + PATIENCE;
    while visitor.assignment().expect("a member").count() == 0 {
        assert!(Instant::now() < deadline, "the visitor got no share");
        let _ = visitor.poll(Duration::from_millis(10));
    }
}

/// The number of messages from the committed offsets to the ends of the partitions.
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
        let (low, high) =
            client.fetch_watermarks(topic, element.partition(), PATIENCE).unwrap_or((0, 0));
        let from = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => low,
        };
        sum += u64::try_from(high - from).unwrap_or(0);
    }
    sum
}
