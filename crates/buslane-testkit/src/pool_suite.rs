//! The contract of pools as tests: one function for each scenario, which every pool runs through
//! [`pool_suite!`](crate::pool_suite!).
//!
//! A scenario sees a pool only through the contract. It runs on a separate runtime with two
//! threads, or with one thread and paused time when it depends on time. It must not leave a task
//! behind.

pub mod bounds;
pub mod handlers;
pub mod kit;
pub mod metrics;
pub mod order;
pub mod panics;
pub mod retry;
pub mod stop;

use crate::{deadline, leak};
use buslane_core::{ErasedHandler, Pool};
use buslane_lanes::{Bounds, Mode};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Builder;

/// The options of a pool that a scenario asks for.
#[derive(Clone)]
pub struct PoolOptions {
    /// The number of handlers that run or wait at the same time.
    pub workers: usize,
    /// The bounds of open work.
    pub bounds: Bounds,
    /// The longest time that a submitter waits for capacity.
    pub wait_timeout: Duration,
    /// How keys map to lanes.
    pub mode: Mode,
    /// Handles jobs that carry no handler.
    pub default_handler: Option<Arc<dyn ErasedHandler>>,
    /// The number of restarts of one worker within the window. Unsupervised pools ignore this
    /// limit.
    pub max_restarts: usize,
    /// The window in which restarts are counted.
    pub restart_window: Duration,
    /// The cool-down of a worker that exceeds `max_restarts`.
    pub cool_down: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            workers: 4,
            bounds: Bounds::default(),
            wait_timeout: deadline::LIMIT,
            mode: Mode::Exclusive,
            default_handler: None,
            max_restarts: 1_000_000,
            restart_window: Duration::from_secs(60),
            cool_down: Duration::from_secs(30),
        }
    }
}

/// Creates the pools of the suite.
pub trait PoolFixture {
    /// A new pool on the current runtime.
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool>;

    /// Whether a regular message's panic ends the worker and a supervisor starts another.
    fn is_supervised(&self) -> bool;

    /// Whether this pool runs every job. `false` when another pool runs some of them, and counts
    /// their restarts.
    fn is_one_pool(&self) -> bool {
        true
    }
}

/// Runs a scenario on two threads, and fails when it takes too long or leaves a task behind.
pub fn run<F: Future<Output = ()>>(scenario: F) {
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        deadline::within(2 * deadline::LIMIT, "the scenario ends", scenario).await;
        leak::no_more_tasks_than(0).await;
    });
}

/// Runs a scenario on one thread with paused time: the schedule is deterministic, and an hour
/// passes at once.
pub fn run_paused<F: Future<Output = ()>>(scenario: F) {
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let started = Instant::now();
    runtime.block_on(async {
        deadline::within(Duration::from_hours(1_000), "the scenario ends", scenario).await;
        leak::no_more_tasks_than(0).await;
    });
    assert!(started.elapsed() < 2 * deadline::LIMIT, "paused time takes no time");
}

/// Writes one `#[test]` for each scenario of the suite, in a separate module: `pool_suite!(keyed,
/// Fixture);`. The second argument is an expression that creates a
/// [`PoolFixture`](crate::pool_suite::PoolFixture).
#[macro_export]
macro_rules! pool_suite {
    ($name:ident, $fixture:expr) => {
        mod $name {
            use super::*;
            $crate::pool_suite!(@ run $fixture, bounds: [
                p1_pool_holds_exactly_workers_times_size
                p3_full_lane_refuses_its_own_key_alone
                p3_full_pool_makes_the_submitter_wait_and_drops_nothing
                p3_wait_timeout_is_a_typed_error_and_keeps_the_batch
                p3_byte_budget_counts_until_completion
                p3_oversized_message_is_admitted_alone
                p3_others_are_admitted_while_one_submitter_waits
                p3_cancelled_submit_keeps_the_batch_and_leaves_no_trace
                p3_room_wakes_every_submitter
                p3_room_is_seen_while_a_handler_computes
                p3_open_work_never_exceeds_the_bounds
            ]);
            $crate::pool_suite!(@ run $fixture, retry: [
                p3_failing_work_is_charged_apart
                p3_failing_bound_refuses_failing_keys_alone
            ]);
            $crate::pool_suite!(@ run $fixture, handlers: [
                p4_own_handler_goes_before_the_default
                p4_no_handler_is_refused_in_fixed_words
                p5_every_job_settles_exactly_once
                p5_dropping_the_pool_abandons_what_is_open
                p6_error_is_reported_and_is_no_panic
                p11_handler_sees_the_same_message
                p11_same_script_gives_the_same_record
                t3_pools_leave_no_task_behind
            ]);
            $crate::pool_suite!(@ run $fixture, panics: [
                p7_envelope_panic_is_reported_and_the_worker_goes_on
                p7_regular_panic_leaves_queued_work_in_order
                p7_panic_at_any_point_of_a_handler
                p7_panic_outside_of_the_future_goes_to_its_own_handler
                p7_panicked_attempt_may_be_retried
                p7_panics_of_some_keys_leave_the_others_alone
                p7_panic_in_a_long_queue
            ]);
            $crate::pool_suite!(@ run $fixture, order: [
                p9_waiting_key_does_not_delay_the_others
                p9_blocking_key_does_not_delay_the_others
                p9_blocking_key_does_not_delay_waiting_ones
                p9_blocked_thread_does_not_hold_finished_keys
                p9_handlers_that_compute_use_every_thread
                p9_all_workers_but_one_may_be_slow
                p9_keys_of_one_slot_both_make_progress
                p9_retrying_key_does_not_delay_the_others
            ]);
            $crate::pool_suite!(@ run $fixture, order: [
                p11_order_holds_under_mixed_load
                p11_order_holds_under_mixed_load_in_fixed_slots
                p11_order_holds_under_mixed_load_in_a_small_pool
                p11_order_holds_for_one_hot_key
                p5_conservation_holds_at_every_probe
            ]);
            $crate::pool_suite!(@ run $fixture, retry: [
                d3_retry_keeps_the_order_of_its_key
                d3_attempts_count_up_and_keep_their_state
                d5_end_of_a_job_goes_on_at_once
                d3_blocked_keys_are_counted
                p10_waiting_retry_is_abandoned_at_stop
                p10_attempt_that_fails_during_stop_takes_its_lane_along
            ]);
            $crate::pool_suite!(@ run_paused $fixture, retry: [
                d3_retries_run_when_they_are_due
                d3_sooner_retry_is_not_held_up_by_a_later_one
            ]);
            $crate::pool_suite!(@ run $fixture, stop: [
                p5_purge_drops_what_is_queued_and_not_what_runs
                p5_purge_reaches_retries_and_makes_room
                p5_what_is_not_held_does_not_start
            ]);
            $crate::pool_suite!(@ run $fixture, stop: [
                p10_stop_runs_what_is_queued
                p10_stop_of_an_idle_pool_is_immediate
                p10_deadline_abandons_the_rest
                p10_running_handler_is_waited_for
                p10_concurrent_stops_get_the_same_answer
                p10_cancelled_stop_goes_on
                p10_stopped_pool_refuses_work
                p10_stop_wakes_waiting_submitters
                p10_stop_while_submitting_loses_nothing
                p10_handler_that_blocks_its_thread_is_a_straggler
            ]);
            $crate::pool_suite!(@ run_paused $fixture, panics: [
                p8_failing_seat_cools_down_and_others_take_over
                p8_storm_of_panics_leaves_workers_in_service
                p8_restarts_outside_of_the_window_are_forgotten
                p8_stop_does_not_wait_for_a_cool_down
                p8_stop_ends_a_cool_down_at_the_deadline
                p10_panics_do_not_end_a_drain
            ]);
        }
    };
    (@ $run:ident $fixture:expr, $module:ident: [$($scenario:ident)*]) => {
        $(
            #[test]
            fn $scenario() {
                $crate::pool_suite::$run($crate::pool_suite::$module::$scenario(&$fixture));
            }
        )*
    };
}
