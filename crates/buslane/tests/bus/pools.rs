//! The contract of pools, kept by both as one: at rest as exactly as by each of them, and while
//! slots change sides all the time wherever that does not speak of bounds.
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane_actor::ActorPoolConfig;
use buslane_core::{
    BoxFuture, Job, LaneState, Pool, PoolStats, RunningJob, StopReport, SubmitError,
};
use buslane_keyed::KeyedPoolConfig;
use buslane_pools::Pools;
use buslane_testkit::pool_suite::{PoolFixture, PoolOptions};
use std::{
    collections::VecDeque,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

/// The keyed pool of a scenario.
pub(crate) fn keyed(options: &PoolOptions) -> KeyedPoolConfig {
    let PoolOptions { workers, bounds, wait_timeout, mode, default_handler, .. } = options.clone();
    KeyedPoolConfig { workers, wait_timeout, mode, bounds, default_handler, ..Default::default() }
}

fn both(options: &PoolOptions, boundary: usize) -> Pools {
    let PoolOptions {
        workers,
        bounds,
        wait_timeout,
        mode,
        default_handler,
        max_restarts,
        restart_window,
        cool_down,
    } = options.clone();
    let actor = ActorPoolConfig {
        actors: workers,
        wait_timeout,
        mode,
        bounds,
        default_handler,
        max_restarts,
        restart_window,
        cool_down,
        ..Default::default()
    };
    Pools::new([keyed(options).spec(), actor.spec()], boundary, bounds.messages)
}

/// Every slot at one side.
struct AtRest(usize);

impl PoolFixture for AtRest {
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool> {
        Arc::new(both(&options, self.0))
    }

    fn is_supervised(&self) -> bool {
        self.0 > 0
    }
}

buslane_testkit::pool_suite!(keyed_at_rest, AtRest(0));
buslane_testkit::pool_suite!(actor_at_rest, AtRest(1_024));

/// Pools whose slots migrate all the time, until they are stopped.
struct Restless(Arc<Pools>);

impl Restless {
    fn new(options: &PoolOptions) -> Self {
        let pool = Arc::new(both(options, 512));
        let (moved, runtime) = (Arc::downgrade(&pool), tokio::runtime::Handle::current());
        thread::spawn(move || {
            let _runtime = runtime.enter();
            for boundary in [1_024, 100, 0, 512, 1_024, 0, 700].into_iter().cycle() {
                let Some(pool) = moved.upgrade() else { return };
                pool.rebalance_to(boundary);
                for _ in 0..3 {
                    pool.step();
                    thread::sleep(Duration::from_micros(100));
                }
            }
        });
        Self(pool)
    }
}

impl Pool for Restless {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.0.try_submit(batch)
    }
    fn submit<'a>(
        &'a self,
        batch: &'a mut VecDeque<Job>,
    ) -> BoxFuture<'a, Result<(), SubmitError>> {
        self.0.submit(batch)
    }
    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.0.purge(matches)
    }
    fn limit_keys(&self, most: Option<usize>) {
        self.0.limit_keys(most);
    }
    fn lane(&self, lane: u64) -> Option<LaneState> {
        self.0.lane(lane)
    }
    fn running(&self) -> Vec<RunningJob> {
        self.0.running()
    }
    fn stats(&self) -> PoolStats {
        self.0.stats()
    }
    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport> {
        self.0.stop(deadline)
    }
}

struct OnTheWay;

impl PoolFixture for OnTheWay {
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool> {
        Arc::new(Restless::new(&options))
    }

    fn is_one_pool(&self) -> bool {
        false
    }

    fn is_supervised(&self) -> bool {
        true
    }
}

/// The second pool is started while both are stopped: neither waits for the other, and no worker is
/// left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_a_pool_that_is_started_while_it_is_stopped_ends() {
    let before = buslane_testkit::leak::tasks();
    for _ in 0..500 {
        let options = PoolOptions { workers: 2, ..PoolOptions::default() };
        let pools = Arc::new(both(&options, 0));
        let (moved, runtime) = (Arc::clone(&pools), tokio::runtime::Handle::current());
        let at_once = Arc::new(Barrier::new(2));
        let mover = {
            let at_once = Arc::clone(&at_once);
            thread::spawn(move || {
                let _runtime = runtime.enter();
                at_once.wait();
                moved.rebalance_to(1_024);
            })
        };
        at_once.wait();
        let report = pools.stop(Duration::from_secs(60)).await;
        assert_eq!(report.stragglers, 0);
        mover.join().expect("it ends");
    }
    buslane_testkit::leak::no_more_tasks_than(before).await;
}

mod on_the_way {
    use super::OnTheWay;

    buslane_testkit::pool_suite!(@ run OnTheWay, order: [
        p11_order_holds_under_mixed_load
        p11_order_holds_under_mixed_load_in_fixed_slots
        p11_order_holds_under_mixed_load_in_a_small_pool
        p11_order_holds_for_one_hot_key
    ]);
    buslane_testkit::pool_suite!(@ run OnTheWay, retry: [
        d3_retry_keeps_the_order_of_its_key
        d3_attempts_count_up_and_keep_their_state
        d5_end_of_a_job_goes_on_at_once
        p10_waiting_retry_is_abandoned_at_stop
    ]);
    buslane_testkit::pool_suite!(@ run OnTheWay, handlers: [
        p4_own_handler_goes_before_the_default
        p5_every_job_settles_exactly_once
        p5_dropping_the_pool_abandons_what_is_open
        p11_handler_sees_the_same_message
        p11_same_script_gives_the_same_record
        t3_pools_leave_no_task_behind
    ]);
    buslane_testkit::pool_suite!(@ run OnTheWay, panics: [
        p7_envelope_panic_is_reported_and_the_worker_goes_on
        p7_panicked_attempt_may_be_retried
        p7_panics_of_some_keys_leave_the_others_alone
    ]);
    buslane_testkit::pool_suite!(@ run OnTheWay, stop: [
        p5_what_is_not_held_does_not_start
    ]);
    buslane_testkit::pool_suite!(@ run OnTheWay, stop: [
        p10_stop_runs_what_is_queued
        p10_running_handler_is_waited_for
        p10_concurrent_stops_get_the_same_answer
        p10_cancelled_stop_goes_on
        p10_stopped_pool_refuses_work
        p10_stop_while_submitting_loses_nothing
    ]);
}

mod shadows {
    use buslane_actor::ActorPoolConfig;
    use buslane_core::{Job, Kind, Message, Pool, Settlement, Topic, erase};
    use buslane_keyed::KeyedPoolConfig;
    use buslane_pools::{ACTOR, Crew, Driver, Engine, KEYED, PoolSpec, Pools, SLOTS};
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        time::Duration,
    };
    use tokio::sync::Notify;

    type Started = Arc<[AtomicUsize; 2]>;

    /// Counts how often a pool of this index is started.
    struct Counted {
        driver: Arc<dyn Driver>,
        started: Started,
        index: usize,
    }

    impl Driver for Counted {
        fn name(&self) -> &'static str {
            self.driver.name()
        }

        fn start(&self, engine: &Arc<Engine>) -> Box<dyn Crew> {
            self.started[self.index].fetch_add(1, SeqCst);
            self.driver.start(engine)
        }
    }

    fn counted(boundary: usize) -> (Pools, Started) {
        let started = Started::default();
        let counted = |index, spec: PoolSpec| {
            let driver = Counted { driver: spec.driver, started: Arc::clone(&started), index };
            PoolSpec { driver: Arc::new(driver), ..spec }
        };
        let keyed = KeyedPoolConfig { workers: 2, ..Default::default() }.spec();
        let actor = ActorPoolConfig { actors: 2, ..Default::default() }.spec();
        let pools = Pools::new([counted(KEYED, keyed), counted(ACTOR, actor)], boundary, 100);
        (pools, started)
    }

    /// A job that tells when it runs, and never ends.
    fn job(runs: &Arc<Notify>) -> Job {
        let runs = Arc::clone(runs);
        let handler = erase(Kind::Envelope, move |_: Message| {
            runs.notify_one();
            std::future::pending::<()>()
        });
        let message = Message::new(Topic::new("orders").unwrap(), "body");
        Job::new(7, message, Settlement::ignored()).with_handler(handler)
    }

    #[tokio::test]
    async fn s7_runs_by_the_other_kind_and_is_in_no_figure() {
        for (boundary, own, other) in [(0, KEYED, ACTOR), (SLOTS, ACTOR, KEYED)] {
            let ((pool, started), runs) = (counted(boundary), Arc::new(Notify::new()));
            let count = |index: usize| started[index].load(SeqCst);
            assert_eq!((count(own), count(other)), (1, 0));
            let before = pool.stats();
            assert!(pool.try_shadow(job(&runs)));
            runs.notified().await;
            assert_eq!((count(own), count(other)), (1, 1));
            assert!(pool.stats() == before && pool.running().is_empty() && pool.lane(7).is_none());
            let report = pool.stop(Duration::from_secs(10)).await;
            assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 0, 0));
            assert!(!pool.try_shadow(job(&runs)), "it is stopped");
        }
    }

    #[tokio::test]
    async fn s7_nothing_runs_beside_a_slot_on_its_way_or_a_pool_that_has_stopped() {
        let ((pool, started), runs) = (counted(0), Arc::new(Notify::new()));
        pool.rebalance_to(SLOTS);
        assert!(!pool.try_shadow(job(&runs)));
        while pool.counts().moving > 0 {
            pool.step();
        }
        pool.stop(Duration::from_secs(10)).await;
        assert!(!pool.try_shadow(job(&runs)));
        assert_eq!(
            [started[KEYED].load(SeqCst), started[ACTOR].load(SeqCst)],
            [1, 1],
            "none was made for what was refused"
        );
    }
}
