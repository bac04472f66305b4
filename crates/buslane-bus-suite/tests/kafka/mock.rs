//! Runs the bus suite on the mock cluster of librdkafka, which needs no Java and no download.
//! `UNMET` lists the scenarios that the cluster cannot meet, with the reason; `contract` runs them
//! on a real broker.
//!
//! The keyed pool alone: the mock cluster adds the group protocol of the broker, which no pool
//! sees, and the real broker runs both pools.

use super::fixture::Kafka;
use buslane_kafka::Assignment;
use buslane_testkit::server;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer},
};

const UNMET: &[(&str, &str)] = &[
    ("b6_a_publish_waits_and_then_times_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    (
        "m2_lost_acks_and_duplicates_lose_nothing",
        "Kafka has no acknowledgements of single messages that could be lost or doubled",
    ),
    ("m2_a_cut_connection_loses_nothing", NO_CUT),
    ("o3_a_broker_that_is_away_is_named", NO_CUT),
    ("o3_a_dead_partition_is_named", NO_END),
    ("b1_on_reconnect_is_called_and_everything_goes_on", NO_CUT),
    ("b1_a_callback_of_a_reconnect_that_never_ends_holds_up_nothing", NO_CUT),
    ("b1_topics_can_be_configured_and_looked_at", NO_ADMIN),
    ("b3_partitions_that_are_added_are_read", NO_ADMIN),
    ("b5_hot_paths_go_on_while_a_subscribe_is_stuck", NO_ADMIN),
    ("q1_a_failing_key_is_set_aside_and_the_others_go_on", NO_ADMIN),
    ("q3_a_redrive_keeps_the_order_and_ends", NO_ADMIN),
    ("q3_a_redrive_that_fails_keeps_the_key_parked", NO_ADMIN),
    ("q2_parked_keys_outlive_their_process", NO_ADMIN),
    ("q5_a_log_that_cannot_be_written_blocks_the_key", NO_ADMIN),
    ("q4_a_parked_message_is_skipped_edited_or_discarded", NO_ADMIN),
    ("q2_parked_keys_move_with_their_partition", NO_ADMIN),
    (
        "t3_many_buses_leave_nothing",
        "when a bus was dropped instead of closed, its messages are not delivered to the others within 30 s; a real broker \
         delivers them, with this protocol too",
    ),
];
const NEVER_FULL: &str = "a partition has no bound; buslane-kafka/tests/broker/publish.rs fills the producer's queue instead";
const NO_END: &str = "what lies behind the last message may be a marker; tests/kafka/health takes a partition's leader away instead";
const NO_CUT: &str = "the fixture has no fault that cuts connections; buslane-kafka/tests/broker/loss.rs stops brokers instead";
const NO_ADMIN: &str = "the cluster answers nothing that an admin client asks";

fn mock() -> Kafka {
    let host: BaseProducer =
        ClientConfig::new().set("test.mock.num.brokers", "1").create().expect("a client");
    let brokers = host.client().mock_cluster().expect("its host").bootstrap_servers();
    Kafka {
        brokers,
        tag: server::unique("t"),
        // On the mock cluster, the other protocols take seconds to form a group.
        assignment: Assignment::Broker,
        unmet: UNMET,
        make_topic: Some(Box::new(move |name, partitions| {
            let partitions = i32::try_from(partitions).expect("few partitions");
            // The topic may exist already.
            drop(host.client().mock_cluster().expect("its host").create_topic(name, partitions, 1));
        })),
    }
}

buslane_bus_suite::bus_suite!(keyed: mock());
