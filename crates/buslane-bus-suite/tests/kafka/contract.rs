//! Runs the bus suite on a real Kafka with both pools.

use super::fixture::Kafka;
use buslane_kafka::Assignment;
use buslane_testkit::server;

const UNMET: [(&str, &str); 10] = [
    (
        "b3_subscribing_later_does_not_restart_the_others",
        "an eager rebalance stops everything, which is what it is",
    ),
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
    (
        "d3_a_waiting_retry_moves_with_its_partition",
        "a cooperative rebalance takes a part of the partitions, which may not be that one",
    ),
];
const NEVER_FULL: &str = "a partition has no bound; buslane-kafka/tests/broker/publish.rs fills the producer's queue instead";
const NO_END: &str = "what lies behind the last message may be a marker; tests/kafka/health takes a partition's leader away instead";
const NO_CUT: &str = "clients connect to the addresses that brokers name; `cargo xtask chaos kafka` stops brokers instead";

/// `Range` rebalances eagerly and stops all partitions; `CooperativeSticky` does not.
fn kafka(assignment: Assignment) -> Kafka {
    Kafka {
        brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"),
        tag: server::unique("t"),
        assignment,
        unmet: match assignment {
            Assignment::CooperativeSticky => &UNMET[1..],
            _ => &UNMET[..UNMET.len() - 1],
        },
        make_topic: None,
    }
}

buslane_bus_suite::bus_suite!(kafka(Assignment::Range), kafka(Assignment::CooperativeSticky));
