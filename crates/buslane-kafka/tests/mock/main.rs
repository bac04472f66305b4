//! The contract suite of all brokers, on librdkafka's mock cluster: seconds, without Java and
//! without a download. Cases that it does not support are listed with the reason; `contract` runs
//! them on a real broker.

mod cluster;
mod producer_settings;
mod publishing;
mod reading;

use buslane_core::Broker;
use buslane_kafka::{Assignment, ConsumerConfig, KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::broker_suite::{BrokerFixture, Capabilities, MemberSpec};
use cluster::Cluster;
use std::sync::Arc;

const UNMET: [(&str, &str); 16] = [
    ("b6_a_full_partition_makes_publishers_wait_and_time_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    (
        "k3_a_partition_moves_after_its_open_messages_are_settled",
        "a member leaves with all its partitions at once; tests/broker/rebalance.rs has what holds instead",
    ),
    ("k6_a_topic_is_created_with_its_settings", NO_ADMIN),
    ("k6_create_only_leaves_an_existing_topic_alone", NO_ADMIN),
    ("k6_an_update_changes_what_it_names_and_never_shrinks", NO_ADMIN),
    ("k6_an_update_adds_partitions_only_when_told", NO_ADMIN),
    ("k6_validation_names_each_difference_and_changes_nothing", NO_ADMIN),
    ("k6_compression_is_kept_or_refused", NO_ADMIN),
    ("k6_skip_does_nothing", NO_ADMIN),
    ("k6_impossible_settings_are_refused", NO_ADMIN),
    ("q1_a_log_keeps_its_records_in_order", NO_ADMIN),
    ("q1_a_reader_of_a_log_waits_at_its_end", NO_ADMIN),
    ("q2_a_log_forgets_from_below", NO_ADMIN),
    ("q2_a_topic_that_forgets_is_no_log", NO_ADMIN),
];
const NEVER_FULL: &str =
    "a partition has no bound; tests/broker/publish.rs fills the producer's queue instead";
const NO_ADMIN: &str = "the mock cluster has no admin requests";
const LARGE: u32 = 2 << 20;

struct Mock(Cluster);

impl BrokerFixture for Mock {
    fn capabilities(&self) -> Capabilities {
        Capabilities { unmet: &UNMET, ..Capabilities::default() }
    }

    async fn member(&self, spec: MemberSpec) -> Arc<dyn Broker> {
        let config = KafkaConfig {
            brokers: self.0.address(),
            group: spec.group,
            consumer: ConsumerConfig {
                // The other protocols take seconds to form a group there.
                assignment: Assignment::Broker,
                drain_deadline: spec.drain_deadline,
                ..ConsumerConfig::default()
            },
            producer: ProducerConfig {
                publish_timeout: spec.publish_timeout,
                max_message_bytes: LARGE,
                ..ProducerConfig::default()
            },
            ..KafkaConfig::default()
        };
        Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"))
    }

    fn name(&self, what: &str) -> String {
        self.0.topic(what);
        what.to_owned()
    }
}

buslane_testkit::broker_suite!(Mock(Cluster::new()));
