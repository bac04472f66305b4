//! The contract suite of all brokers, on a real Kafka.

use buslane_core::Broker;
use buslane_kafka::{ConsumerConfig, KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{
    broker_suite::{BrokerFixture, Capabilities, MemberSpec},
    deadline::{LIMIT, SILENCE},
    server,
};
use std::{sync::Arc, time::Duration};

const UNMET: [(&str, &str); 4] = [
    ("b6_a_full_partition_makes_publishers_wait_and_time_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    (
        "k3_a_partition_moves_after_its_open_messages_are_settled",
        "a member leaves with all its partitions at once; rebalance.rs has what holds instead",
    ),
];
const NEVER_FULL: &str = "a partition has no bound; publish.rs fills the producer's queue instead";
const LARGE: u32 = 2 << 20;

struct Kafka {
    brokers: String,
    /// Unique to this fixture: all fixtures share one broker.
    tag: String,
}

impl Kafka {
    fn new() -> Self {
        Self { brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"), tag: server::unique("t") }
    }
}

impl BrokerFixture for Kafka {
    fn capabilities(&self) -> Capabilities {
        Capabilities { unmet: &UNMET, ..Capabilities::default() }
    }

    async fn member(&self, spec: MemberSpec) -> Arc<dyn Broker> {
        let config = KafkaConfig {
            brokers: self.brokers.clone(),
            group: spec.group,
            consumer: ConsumerConfig {
                drain_deadline: spec.drain_deadline,
                session_timeout: SILENCE,
                heartbeat_interval: Duration::from_millis(500),
                ..ConsumerConfig::default()
            },
            producer: ProducerConfig {
                publish_timeout: spec.publish_timeout,
                max_message_bytes: LARGE,
                ..ProducerConfig::default()
            },
            create_missing: Some(buslane_kafka::TopicConfig {
                partitions: Some(8),
                ..Default::default()
            }),
            connect_timeout: LIMIT,
            request_timeout: LIMIT,
            ..KafkaConfig::default()
        };
        Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"))
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.tag)
    }
}

buslane_testkit::broker_suite!(Kafka::new());
