//! The list of scenarios. Each becomes a test of a backend.

/// Runs the contract suite of brokers: one test for each scenario. The expression creates a
/// [`BrokerFixture`](crate::broker_suite::BrokerFixture), and each test evaluates it on its
/// runtime.
#[macro_export]
macro_rules! broker_suite {
    ($fixture:expr) => {
        $crate::broker_suite! { @tests $fixture;
            basics {
                e6_key_headers_and_bytes_arrive_exactly,
                e6_offsets_and_partitions_are_those_of_the_receipts,
                b1_empty_and_large_payloads_arrive,
                b1_publishing_without_a_subscriber_succeeds,
                b1_an_empty_batch_is_published_at_once,
                b1_concurrent_publishers_reach_the_reader_exactly_once,
                e4_a_key_chooses_its_partition_by_fnv1a,
                r2_records_without_a_key_spread_and_all_arrive,
                r3_batches_keep_the_order_of_each_key,
                k4_an_unread_partition_leaves_the_others_flowing,
                k4_an_intake_that_is_not_read_sees_its_end,
                b6_a_full_partition_makes_publishers_wait_and_time_out,
                b6_a_waiting_publish_goes_on_when_there_is_room,
                b6_a_cancelled_publish_leaves_the_others_alone,
            }
            members {
                m1_members_share_the_partitions_and_each_message_comes_once,
                m1_every_group_gets_every_message,
                m1_a_restart_continues_at_what_is_not_settled,
                m1_a_crashed_members_open_messages_go_to_the_others,
                k3_a_partition_moves_after_its_open_messages_are_settled,
                k3_a_settlement_after_the_deadline_is_ignored,
                b3_ending_one_subscription_leaves_the_others,
                t5_an_ended_subscription_leaves_nothing_in_memory,
                b3_subscribing_later_leaves_the_others_running,
                b3_subscribing_again_continues,
                b3_subscribing_twice_changes_nothing,
            }
            lifecycle {
                b2_closing_twice_and_at_once_gives_one_answer,
                b2_a_closed_broker_refuses_everything,
                b2_closing_while_publishing_does_not_hang,
                b9_settlements_count_after_reading_has_stopped,
                b9_closing_waits_for_open_messages,
                b9_closing_ends_intakes_and_events,
                b9_what_is_open_at_the_deadline_comes_again,
                d1_only_what_is_open_comes_again_after_a_restart,
                d1_a_message_given_back_comes_again_while_reading_goes_on,
                d1_a_failed_or_panicked_message_is_over,
                d2_a_later_settlement_never_settles_an_earlier_one,
                d2_what_is_done_above_a_gap_does_not_run_again,
                d2_settling_out_of_order_settles_everything,
            }
            logs {
                q1_a_log_keeps_its_records_in_order,
                q1_a_reader_of_a_log_waits_at_its_end,
                q2_a_log_forgets_from_below,
                q2_a_topic_that_forgets_is_no_log,
            }
            topics {
                k6_a_topic_is_created_with_its_settings,
                k6_create_only_leaves_an_existing_topic_alone,
                k6_an_update_changes_what_it_names_and_never_shrinks,
                k6_an_update_adds_partitions_only_when_told,
                k6_validation_names_each_difference_and_changes_nothing,
                k6_compression_is_kept_or_refused,
                k6_skip_does_nothing,
                k6_impossible_settings_are_refused,
                k8_lag_counts_from_the_lowest_open_message,
                k8_a_closed_broker_has_no_lag,
            }
        }
    };
    (@tests $fixture:expr; $($module:ident { $($name:ident,)* })*) => {
        $($(
            #[test]
            fn $name() {
                $crate::broker_suite::run(stringify!($name), || $fixture, $crate::broker_suite::$module::$name);
            }
        )*)*

        #[test]
        fn every_unmet_scenario_is_a_scenario() {
            let unmet = $crate::broker_suite::BrokerFixture::capabilities(&$fixture).unmet;
            $crate::broker_suite::check_unmet(unmet, &[$($(stringify!($name),)*)*]);
        }
    };
}
