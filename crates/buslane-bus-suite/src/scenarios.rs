//! The list of scenarios. Each becomes two tests of a backend, one for each pool.

/// Runs the suite of buses: one test for each scenario and pool, in the modules `keyed` and
/// `actor`. The expression creates a [`BusFixture`](crate::BusFixture), and each test evaluates it
/// on its runtime. A second expression is for the actor pool. `keyed: EXPRESSION` runs the keyed
/// pool alone.
#[macro_export]
macro_rules! bus_suite {
    ($fixture:expr) => {
        $crate::bus_suite! { $fixture, $fixture }
    };
    (keyed: $keyed:expr) => {
        mod keyed {
            #[allow(unused_imports, reason = "the fixture may need none of it")]
            use super::*;
            $crate::bus_suite! { @all Keyed $keyed }
        }
    };
    ($keyed:expr, $actor:expr) => {
        $crate::bus_suite! { keyed: $keyed }

        mod actor {
            #[allow(unused_imports, reason = "the fixture may need none of it")]
            use super::*;
            $crate::bus_suite! { @all Actor $actor }
        }
    };
    (@all $pool:ident $fixture:expr) => {
        $crate::bus_suite! { @tests $pool $fixture;
            basics {
                b1_a_message_of_each_kind_arrives_exactly,
                b1_ten_messages_are_all_handled_once,
                e6_a_handler_sees_everything_about_its_message,
                b1_topics_do_not_mix,
                b1_concurrent_publishers_lose_and_double_nothing,
                b1_large_and_empty_messages_arrive,
                b1_publishing_without_a_subscriber_succeeds,
                m1_every_group_gets_every_message,
                b1_a_receipt_says_where_it_is_stored,
                b1_a_batch_is_answered_record_by_record,
                b1_topics_can_be_configured_and_looked_at,
                b3_partitions_that_are_added_are_read,
                b1_on_reconnect_is_called_and_everything_goes_on,
                b1_a_callback_of_a_reconnect_that_never_ends_holds_up_nothing,
                b1_recovery_mode_orders_everything_that_has_a_key,
            }
            envelopes {
                e1_all_fields_make_the_round_trip,
                e4_the_record_has_exactly_the_key_and_headers_of_the_format,
                e2_an_invalid_envelope_is_refused_before_the_broker,
                e1_concurrent_encoding_does_not_mix_envelopes,
                e5_the_payload_is_a_part_of_the_body_in_every_attempt,
                e5_a_header_routes_without_the_body,
                e2_what_is_wrong_with_a_received_envelope_is_told,
                e5_a_regular_body_is_never_parsed,
            }
            routing {
                r1_every_header_spelling_names_the_key_in_its_priority,
                r1_a_header_that_is_no_aggregate_id_is_passed_over,
                r1_without_a_header_the_body_or_the_record_key_names_the_key,
                r1_header_and_body_that_differ_are_invalid,
                r1_a_header_that_is_no_aggregate_id_makes_an_envelope_invalid,
                r1_a_subscription_can_bring_its_own_extractor,
                r1_an_extractor_that_panics_loses_nothing,
                l4_keys_without_messages_are_remembered_up_to_a_number,
                l4_keys_without_messages_are_forgotten_after_a_while,
                l4_a_key_with_messages_is_never_forgotten,
                l4_messages_without_a_key_push_no_key_out,
            }
            order {
                r3_versions_of_an_aggregate_are_handled_in_order,
                r3_order_holds_while_handlers_wait,
                d3_order_is_kept_across_a_failed_attempt,
                r3_a_slow_key_does_not_delay_the_others,
                r3_keys_of_a_topic_run_beside_each_other,
                r3_envelopes_and_regular_messages_go_together,
                r3_order_holds_with_a_single_worker,
                r3_regular_messages_of_a_key_keep_their_order,
                r2_messages_without_a_key_go_round_robin,
                r3_an_aggregate_has_one_handler_at_a_time_whatever_the_topic,
                r3_lane_scope_topic_keeps_topics_apart,
                r3_keys_that_two_processes_may_have_at_once_are_told_of,
                r3_a_retried_message_holds_its_key_in_every_topic,
                r4_all_topics_share_one_pool,
            }
            delivery {
                d1_a_message_is_settled_after_its_handler,
                d3_an_envelope_that_fails_twice_is_tried_three_times,
                d1_a_regular_failure_is_final,
                d1_a_regular_verdict_to_retry_is_final_too,
                d5_an_undecodable_envelope_is_given_up_at_once,
                d1_a_regular_handler_gets_the_raw_bytes,
                d2_a_later_message_never_settles_an_earlier_one,
                d3_attempts_are_as_many_as_configured,
                d3_a_subscription_has_its_own_retries,
                d3_waits_grow,
                d3_a_retrying_key_holds_up_itself_alone,
                d3_many_keys_retry_beside_each_other,
                e6_every_attempt_sees_the_same_message,
                d3_attempts_are_counted_for_each_message,
                d5_transient_errors_are_tried_again,
                d5_permanent_errors_are_not,
                d5_a_handler_may_reject_or_insist,
                d5_configuration_subscription_and_bus_decide_in_this_order,
                d5_a_subscription_has_its_own_classifier,
                d5_a_classifier_that_panics_loses_nothing,
            }
            redelivery {
                d1_what_a_shutdown_leaves_comes_again,
                k3_a_partition_that_comes_back_waits_for_its_straggler,
                d1_a_crash_loses_nothing,
                d1_settle_first_is_at_most_once,
                d1_a_restart_continues_and_does_not_replay,
                d2_a_failing_message_comes_again_after_a_restart,
                d1_settle_first_counts_for_an_announced_topic,
                d1_regular_messages_that_a_shutdown_leaves_come_again,
                k3_two_buses_share_and_hand_over,
                k3_two_buses_of_a_group_keep_each_keys_order,
                d1_another_bus_takes_over_after_a_crash,
                k3_buses_of_other_groups_are_not_disturbed,
            }
            draining {
                b9_shutdown_drains_what_is_queued,
                b9_shutdown_does_not_wait_for_a_backoff,
                b9_a_running_handler_is_awaited_and_not_repeated,
                d3_a_failure_while_the_bus_drains_keeps_the_order,
                b9_handlers_may_publish_while_the_bus_drains,
                b2_closing_while_publishing_answers_everybody,
                b2_closing_while_subscribing_answers_everybody,
                b9_drained_waits_for_everything_published,
                b9_drained_says_what_a_blocked_key_leaves,
                b9_drained_waits_for_the_other_members,
            }
            terminal {
                d4_dead_letter_takes_it_and_the_key_goes_on,
                d4_block_holds_the_key_until_it_recovers,
                d4_a_blocked_key_is_tried_at_the_longest_backoff,
                d4_skip_settles_and_goes_on,
                d4_a_dead_letter_that_cannot_be_written_blocks,
                d4_the_policy_may_be_configured,
                d4_an_undecodable_message_blocks_its_key_alone,
                d4_after_a_skip_the_key_gets_single_attempts,
                d4_after_a_dead_letter_the_key_gets_single_attempts,
                d4_other_keys_keep_their_attempts,
                d4_messages_without_a_key_are_not_suspected,
                o3_each_blocked_key_is_named,
                d4_a_partition_that_a_failing_key_holds_is_named_with_the_key,
            }
            dead_letters {
                d6_a_dead_letter_keeps_the_original_and_says_why,
                d6_a_dead_letter_document_is_exact,
                d6_the_dead_letter_of_a_message_without_a_body_has_none,
                d6_a_document_counts_the_retries,
                d6_dead_letters_can_be_replayed,
                d6_a_republished_letter_that_fails_again_leaves_another,
                d6_each_group_leaves_its_own_letter,
                d6_each_topic_leaves_its_own_letter,
                d6_a_letter_with_too_large_a_body_says_what_was_cut,
                d6_a_letter_with_too_large_headers_or_key_is_cut_too,
                d6_a_long_error_is_cut,
                d6_a_document_that_is_too_large_says_what_was_cut,
                d4_a_letter_that_is_refused_in_every_form_blocks,
                d4_a_missing_dead_letter_topic_is_named_at_subscribe,
                d4_a_broker_that_is_away_does_not_fail_the_look_for_the_letters,
            }
            panics {
                p7_an_envelope_that_panics_once_is_tried_again,
                p7_an_envelope_that_always_panics_is_given_up,
                p7_a_regular_panic_is_final,
                p7_many_aggregates_panic_together,
                p7_the_pool_serves_on_after_many_panics,
                p7_a_panic_amid_a_thousand_loses_none,
                p8_messages_outlive_a_cool_down,
            }
            logs {
                d7_good_messages_leave_no_line,
                d7_a_failed_envelope_is_named,
                d7_a_failed_regular_message_is_named,
                d7_what_comes_from_outside_is_escaped_and_cut,
                d7_a_clean_end_says_so_and_nothing_else,
                d7_the_pool_is_named_once,
                d7_recovery_mode_is_told_of,
            }
            lifecycle {
                b2_a_closed_bus_refuses_everything,
                b2_every_shutdown_gets_the_same_answer,
                b2_a_shutdown_goes_on_without_its_caller,
                b9_shutdown_reports,
                b9_the_configured_deadline_counts,
                b9_a_handler_that_blocks_its_thread_is_named,
                b9_shutdown_ends_a_subscribe_that_hangs,
                t3_many_buses_leave_nothing,
                b9_a_handler_may_shut_its_bus_down,
                b2_a_bus_on_a_closed_broker_does_not_start,
                s1_the_environment_chooses_the_pool,
                s1_the_default_is_the_keyed_pool,
                s1_the_environment_sizes_the_actor_pool,
                s1_unreadable_values_are_errors,
                s1_a_broken_rule_is_an_error_at_the_start,
                s2_the_other_pool_stays_ready,
                b5_hot_paths_go_on_while_a_subscribe_is_stuck,
                b5_the_closed_flag_is_seen_while_a_shutdown_waits,
            }
            subscriptions {
                b2_a_second_subscription_is_refused,
                b2_of_many_subscriptions_at_once_one_succeeds,
                b3_subscribing_later_does_not_restart_the_others,
                b3_ending_one_subscription_leaves_the_others,
                b3_unsubscribing_leaves_what_is_queued_and_finishes_what_runs,
                b3_coming_and_going_loses_and_doubles_nothing,
                b3_subscribing_again_continues,
                b3_an_old_handle_does_not_end_a_new_subscription,
                b3_dropping_a_future_or_a_handle_ends_nothing,
                b3_dropping_other_futures_leaves_nothing_half_done,
                b3_a_handler_may_end_its_own_subscription,
                b3_a_topic_that_comes_back_in_a_rebalance_is_read,
                b3_many_topics_come_and_go_at_once,
                b4_messages_of_an_announced_topic_wait_for_their_handler,
                b4_what_is_never_activated_is_left_alone,
                b4_announcing_again_changes_nothing,
                d7_held_messages_are_told_of,
            }
            pressure {
                p3_a_full_pool_makes_the_sources_wait,
                p3_regular_messages_wait_for_room_too,
                p3_a_full_lane_leaves_other_sources_alone,
                p3_the_byte_budget_bounds_what_is_open,
                d4_too_many_blocked_messages_stop_their_own_partitions_alone,
                t4_panics_in_a_full_pool_lose_nothing,
                b6_a_publish_waits_and_then_times_out,
                b6_a_waiting_publish_goes_on_when_there_is_room,
                b6_a_cancelled_publish_leaves_the_others_alone,
                b6_a_silent_broker_does_not_hold_a_publisher_for_ever,
            }
            limits {
                b7_an_unordered_subscription_runs_a_key_beside_itself,
                b7_a_rate_holds,
                b7_a_concurrency_limit_holds,
                b7_a_limited_subscription_ends_while_it_waits,
                b7_a_handler_that_takes_too_long_is_tried_again,
                b7_a_regular_handler_that_takes_too_long_has_failed,
                b7_bad_options_are_typed_errors,
                b7_handlers_come_in_many_forms,
                b8_a_limited_topic_leaves_the_others_alone,
                b8_the_limit_of_the_bus_changes_while_it_holds,
                b8_a_subscriptions_own_rate_can_be_changed,
                b8_a_limited_publisher_leaves_other_topics_alone,
                b8_publishers_wait_in_order,
                b8_a_publish_that_waits_too_long_is_refused,
                b8_configured_limits_hold,
                b8_bad_limits_are_refused,
            }
            backlog {
                l1_a_backlog_of_messages_is_told_of_and_goes,
                l1_an_old_message_is_a_backlog,
                l1_without_limits_nothing_is_a_backlog,
                l1_a_backlog_goes_with_its_subscription,
                l2_records_that_pile_up_are_told_of,
                l2_slow_answers_are_told_of,
            }
            recovery {
                l3_what_waits_at_the_start_is_drained_in_recovery_mode,
                l3_old_messages_are_not_slowed_down,
                l3_a_backlog_that_comes_up_later_begins_it,
                l3_always_and_never,
                l3_active_keys_are_limited,
                l3_a_blocked_key_does_not_keep_it_on,
                l3_by_hand_it_is_told_of_and_left,
                l3_its_limits_can_be_changed,
            }
            health {
                o3_a_bus_that_is_well_is_healthy,
                o3_a_stuck_handler_is_named,
                o3_a_full_pool_is_named,
                o3_a_restart_storm_is_named,
                o3_an_actor_that_cools_down_is_named,
                o3_dead_letters_that_cannot_be_written_are_named,
                o3_the_memory_ceiling_is_named,
                o3_a_dead_partition_is_named,
                o3_a_broker_that_is_away_is_named,
                o3_a_pause_that_is_too_long_is_a_warning,
                o3_a_paused_subscription_loses_nothing,
                o4_a_stuck_publisher_is_named,
                o4_probes_that_do_not_come_back_are_named,
                o4_every_member_of_a_group_is_well,
            }
            rollout {
                s3_a_key_stays_on_its_side,
                s4_fifty_moves_under_load_lose_nothing,
                s4_waiting_and_blocked_messages_move,
                s4_closing_while_keys_move_loses_nothing,
                s4_a_subscription_may_end_while_its_keys_move,
                s6_a_slot_whose_handler_does_not_end_stays_and_is_named,
            }
            shadow {
                s7_every_message_is_settled_once_while_all_have_shadows,
                s7_a_twin_that_fails_is_counted_and_changes_nothing,
                s7_a_failure_and_a_panic_are_the_same,
                s7_twins_that_never_end_hold_up_nothing,
                s7_a_twin_has_the_timeout_of_its_subscription,
                s7_a_share_is_exact,
                s7_keys_may_change_pools_while_all_have_shadows,
                s7_shadows_go_with_their_subscription,
                s7_a_share_that_is_none_is_refused,
            }
            faults {
                m2_lost_acks_and_duplicates_lose_nothing,
                k3_rebalances_lose_nothing,
                k3_a_rebalance_of_a_single_bus_loses_nothing,
                d3_a_waiting_retry_moves_with_its_partition,
                m2_a_cut_connection_loses_nothing,
                d2_everything_at_once_loses_nothing,
                k3_a_failure_in_a_rebalance_keeps_the_order,
                b3_a_failure_as_its_subscription_ends_keeps_the_order,
                p9_poisoned_keys_do_not_hold_up_the_healthy,
                t2_ten_thousand_messages_over_five_topics,
                t2_a_hundred_runs_in_a_row,
            }
            parking {
                q1_a_failing_key_is_set_aside_and_the_others_go_on,
                q3_a_redrive_keeps_the_order_and_ends,
                q3_a_redrive_that_fails_keeps_the_key_parked,
                q2_parked_keys_outlive_their_process,
                q5_a_log_that_cannot_be_written_blocks_the_key,
                q4_a_parked_message_is_skipped_edited_or_discarded,
                q2_parked_keys_move_with_their_partition,
            }
            metrics {
                o1_the_page_equals_the_traffic,
                o1_attempts_are_messages_and_retries,
                o1_the_page_is_the_catalogue,
                o1_gauges_return_to_zero,
                o1_gauges_return_to_zero_after_a_crash,
                k3_stragglers_and_late_completions_are_counted,
            }
            traces {
                o5_a_publish_in_a_handler_continues_the_trace,
                o5_a_scope_and_a_record_name_their_trace,
                o5_a_trace_context_that_cannot_be_read_loses_nothing,
                o5_retries_and_dead_letters_keep_the_trace,
                o5_each_delivery_has_a_span,
                o5_a_delivery_that_is_tried_again_has_one_span,
                o5_a_tracer_names_the_contexts,
            }
        }
    };
    (@tests $pool:ident $fixture:expr; $($module:ident { $($name:ident,)* })*) => {
        $($(
            #[test]
            fn $name() {
                let fixture = || ::std::sync::Arc::new($fixture) as ::std::sync::Arc<dyn $crate::BusFixture>;
                let pool = $crate::PoolKind::$pool;
                $crate::run(stringify!($name), pool, fixture, $crate::$module::$name);
            }
        )*)*

        #[test]
        fn every_unmet_scenario_is_a_scenario() {
            let unmet = $crate::BusFixture::capabilities(&$fixture).unmet;
            $crate::check_unmet(unmet, &[$($(stringify!($name),)*)*]);
        }
    };
}
