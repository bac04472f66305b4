//! The bus on a real Kafka keeps the promises with both pools.

use buslane::{Config, Topic};
use buslane_core::{BoxFuture, Broker, TopicSettings};
use buslane_kafka::{Assignment, ConsumerConfig, KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{
    broker_suite::MemberSpec,
    bus_suite::{BusFixture, Capabilities, Fault},
    server,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PARTITIONS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(30);

struct Kafka {
    brokers: String,
    /// Of this fixture alone: all share one broker.
    tag: String,
    assignment: Assignment,
}

impl Kafka {
    fn new(assignment: Assignment) -> Self {
        Self { brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"), tag: server::unique("t"), assignment }
    }
}

const UNMET: [(&str, &str); 8] = [
    ("b3_subscribing_later_does_not_restart_the_others", "an eager rebalance stops everything, which is what it is"),
    ("b6_a_publish_waits_and_then_times_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    (
        "m2_lost_acks_and_duplicates_lose_nothing",
        "Kafka has no acknowledgements of single messages that could be lost or doubled",
    ),
    ("m2_a_cut_connection_loses_nothing", NO_CUT),
    ("b1_on_reconnect_is_called_and_everything_goes_on", NO_CUT),
    (
        "d3_a_waiting_retry_moves_with_its_partition",
        "a cooperative rebalance takes a part of the partitions, which may not be that one",
    ),
];
const NEVER_FULL: &str = "a partition has no bound; buslane-kafka/tests/publish.rs fills the producer's queue instead";
const NO_CUT: &str =
    "clients connect to the addresses that brokers name; `cargo xtask chaos kafka` stops brokers instead";

impl BusFixture for Kafka {
    fn capabilities(&self) -> Capabilities {
        let unmet = match self.assignment {
            Assignment::CooperativeSticky => &UNMET[1..],
            _ => &UNMET[..UNMET.len() - 1],
        };
        Capabilities { patience: PATIENCE, unmet, ..Capabilities::default() }
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

    fn fault(&self, fault: Fault) -> BoxFuture<'_, bool> {
        let Fault::Rebalance(group) = fault else { return Box::pin(async { false }) };
        let (brokers, topics) = (self.brokers.clone(), format!("^.*-{}$", self.tag));
        let strategy = match self.assignment {
            Assignment::CooperativeSticky => "cooperative-sticky",
            _ => "range",
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
            tokio::task::spawn_blocking(move || behind(&brokers, &group, &topic)).await.expect("no panic")
        })
    }
}

/// A member that joins, waits for its share, reads nothing of it and leaves.
fn visit(brokers: &str, group: &str, topics: &str, strategy: &str) {
    let visitor: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("heartbeat.interval.ms", "100")
        .set("partition.assignment.strategy", strategy)
        .create()
        .expect("a client");
    visitor.subscribe(&[topics]).expect("a good pattern");
    let deadline = Instant::now() + PATIENCE;
    while visitor.assignment().expect("a member").count() == 0 {
        assert!(Instant::now() < deadline, "the visitor got no share");
        let _ = visitor.poll(Duration::from_millis(10));
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

// The one with rebalances that stop everything, the other with those that do not.
buslane_testkit::bus_suite!(Kafka::new(Assignment::Range), Kafka::new(Assignment::CooperativeSticky));
