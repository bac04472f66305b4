//! Runs the bus suite on a real Kafka: the whole suite with both pools on the default assignment,
//! and on every other one the scenarios that an assignment can affect.

use super::fixture::Kafka;
use buslane_kafka::Assignment;
use buslane_testkit::server;

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
    ("d3_a_waiting_retry_moves_with_its_partition", A_PART),
];
const A_PART: &str = "a rebalance takes a part of the partitions, which may not be that one";
const NEVER_FULL: &str = "a partition has no bound; buslane-kafka/tests/broker/publish.rs fills the producer's queue instead";
const NO_END: &str = "what lies behind the last message may be a marker; tests/kafka/health takes a partition's leader away instead";
const NO_CUT: &str = "clients connect to the addresses that brokers name; `cargo xtask chaos kafka` stops brokers instead";

fn kafka(assignment: Assignment, unmet: &'static [(&'static str, &'static str)]) -> Kafka {
    Kafka {
        brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"),
        tag: server::unique("t"),
        assignment,
        unmet,
        make_topic: None,
    }
}

buslane_bus_suite::bus_suite!(kafka(Assignment::CooperativeSticky, UNMET));

/// What depends on how partitions reach the members: restarts, crashes, members that come and go,
/// and subscriptions that do. `b3_subscribing_later_does_not_restart_the_others` is not among them:
/// an eager rebalance does just that.
macro_rules! assigned_by {
    ($($module:ident: $assignment:ident, $unmet:expr;)*) => { $(
        mod $module {
            use super::*;

            buslane_bus_suite::bus_suite! {
                @tests Keyed kafka(Assignment::$assignment, $unmet);
                order {
                    r3_versions_of_an_aggregate_are_handled_in_order,
                }
                redelivery {
                    d1_what_a_shutdown_leaves_comes_again,
                    k3_a_partition_that_comes_back_waits_for_its_straggler,
                    d1_a_crash_loses_nothing,
                    d1_a_restart_continues_and_does_not_replay,
                    d2_a_failing_message_comes_again_after_a_restart,
                    k3_two_buses_share_and_hand_over,
                    k3_two_buses_of_a_group_keep_each_keys_order,
                    d1_another_bus_takes_over_after_a_crash,
                    k3_buses_of_other_groups_are_not_disturbed,
                }
                draining {
                    b9_shutdown_drains_what_is_queued,
                    d3_a_failure_while_the_bus_drains_keeps_the_order,
                }
                subscriptions {
                    b3_ending_one_subscription_leaves_the_others,
                    b3_unsubscribing_leaves_what_is_queued_and_finishes_what_runs,
                    b3_coming_and_going_loses_and_doubles_nothing,
                    b3_subscribing_again_continues,
                    b3_a_topic_that_comes_back_in_a_rebalance_is_read,
                    b3_many_topics_come_and_go_at_once,
                    b4_messages_of_an_announced_topic_wait_for_their_handler,
                }
                faults {
                    k3_rebalances_lose_nothing,
                    k3_a_rebalance_of_a_single_bus_loses_nothing,
                    d3_a_waiting_retry_moves_with_its_partition,
                    k3_a_failure_in_a_rebalance_keeps_the_order,
                    b3_a_failure_as_its_subscription_ends_keeps_the_order,
                    d2_everything_at_once_loses_nothing,
                }
                parking {
                    q2_parked_keys_outlive_their_process,
                    q2_parked_keys_move_with_their_partition,
                }
                health {
                    o4_every_member_of_a_group_is_well,
                }
            }
        }
    )* };
}

assigned_by! {
    range: Range, &[];
    round_robin: RoundRobin, &[];
    broker: Broker, &[("d3_a_waiting_retry_moves_with_its_partition", A_PART)];
}
