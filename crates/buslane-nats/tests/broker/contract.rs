//! The part of the contract of all brokers that holds where members share topics without
//! partitions.

use super::kit;
use buslane_core::Broker;
use buslane_nats::{ConsumerConfig, NatsBroker, NatsConfig, Partitions, PublisherConfig};
use buslane_testkit::{
    broker_suite::{BrokerFixture, Capabilities, MemberSpec},
    deadline::SILENCE,
    server,
};
use std::sync::Arc;

const UNMET: [(&str, &str); 16] = [
    ("b6_a_full_partition_makes_publishers_wait_and_time_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    (
        "k8_lag_counts_from_the_lowest_open_message",
        "messages are acknowledged one by one; lag.rs has what holds",
    ),
    ("e4_a_key_chooses_its_partition_by_fnv1a", NO_PARTITIONS),
    ("m1_members_share_the_partitions_and_each_message_comes_once", NO_PARTITIONS),
    ("k3_a_partition_moves_after_its_open_messages_are_settled", NO_PARTITIONS),
    ("k4_an_unread_partition_leaves_the_others_flowing", NO_PARTITIONS),
    ("k6_a_topic_is_created_with_its_settings", NO_PARTITIONS),
    ("k6_an_update_adds_partitions_only_when_told", NO_PARTITIONS),
    ("k6_validation_names_each_difference_and_changes_nothing", NO_PARTITIONS),
    ("k6_an_update_changes_what_it_names_and_never_shrinks", NO_PARTITIONS),
    ("q1_a_log_keeps_its_records_in_order", NO_PARTITIONS),
    ("q1_a_reader_of_a_log_waits_at_its_end", NO_PARTITIONS),
    ("q2_a_log_forgets_from_below", NO_PARTITIONS),
    ("q2_a_topic_that_forgets_is_no_log", NO_PARTITIONS),
];
const NEVER_FULL: &str =
    "a stream has no bound that makes publishers wait; publish.rs fills the publisher instead";
const NO_PARTITIONS: &str = "partitions.rs runs it with partitions";

struct Nats(String);

impl BrokerFixture for Nats {
    fn capabilities(&self) -> Capabilities {
        Capabilities { partitions: None, unmet: &UNMET, ..Capabilities::default() }
    }

    async fn member(&self, spec: MemberSpec) -> Arc<dyn Broker> {
        let config = NatsConfig {
            servers: kit::servers(),
            group: spec.group,
            consumer: ConsumerConfig {
                // The open messages of a crashed member come again after this time.
                ack_wait: SILENCE / 3,
                drain_deadline: spec.drain_deadline,
                ..ConsumerConfig::default()
            },
            connect_timeout: kit::PATIENCE,
            request_timeout: SILENCE,
            publisher: PublisherConfig {
                publish_timeout: spec.publish_timeout,
                ..PublisherConfig::default()
            },
            stream: Partitions::Shared.into(),
            ..NatsConfig::default()
        };
        Arc::new(NatsBroker::connect(config).await.expect("a server that answers"))
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.0)
    }
}

buslane_testkit::broker_suite!(Nats(server::unique("t")));
