//! A panic ends its job and, in a supervised pool, the worker of a regular message. It affects no
//! other job.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use buslane_core::{
    AttemptSlot, ErasedHandler, HandlerPanicked, Job, Kind, Message, Outcome, Pool, Step,
    SubmitError, erase,
};
use tokio::time::{Instant, sleep};

use super::kit::{again, done, is_waiting, job, scripted, stop_well, submit_all};
use super::{PoolFixture, PoolOptions};
use crate::deadline::until;
use crate::ledger::{End, Ledger};
use crate::recorder::{Recorder, key_and_sequence};
use crate::signal::{Count, Gate};

/// Waits until a supervised pool has restarted a worker for each panic.
async fn restarts(pool: &dyn Pool, fixture: &dyn PoolFixture, panics: u64) {
    if !fixture.is_one_pool() {
        return;
    }
    let expected = if fixture.is_supervised() { panics } else { 0 };
    until("the supervisor has done its work", || pool.stats().restarts >= expected).await;
    assert_eq!(pool.stats().restarts, expected);
}

/// An envelope's panic fails that envelope: no worker restarts, and the next envelope runs.
pub async fn p7_envelope_panic_is_reported_and_the_worker_goes_on(fixture: &dyn PoolFixture) {
    let handler = erase(Kind::Envelope, async |message: Message| {
        assert!(message.offset.is_multiple_of(2), "odd {}", message.offset);
    });
    let pool = fixture.pool(PoolOptions {
        workers: 1,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..15).map(|n| job(&ledger, 1, n))).await;
    stop_well(&*pool).await;
    for (end, n) in ledger.by_token().into_iter().zip(0..) {
        let expected = if n % 2 == 0 { End::Ok } else { End::Panicked(format!("odd {n}")) };
        assert_eq!(end, expected);
    }
    assert_eq!(HandlerPanicked("odd 1".into()).to_string(), "handler panicked: odd 1");
    let stats = pool.stats();
    assert_eq!((stats.panicked, stats.panics, stats.restarts), (7, 7, 0), "{stats:?}");
}

/// A regular message's panic ends a supervised worker. Queued messages run afterwards, in order.
pub async fn p7_regular_panic_leaves_queued_work_in_order(fixture: &dyn PoolFixture) {
    let gate = Arc::new(Gate::default());
    let order: Arc<Mutex<Vec<u64>>> = Arc::default();
    let handler = {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        erase(Kind::Regular, move |message: Message| {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            async move {
                gate.wait().await;
                order.lock().unwrap_or_else(PoisonError::into_inner).push(message.offset);
                assert!(!message.offset.is_multiple_of(50), "boom {}", message.offset);
            }
        })
    };
    let pool = fixture.pool(PoolOptions {
        workers: 1,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..150).map(|n| job(&ledger, 1, n))).await;
    assert_eq!(pool.stats().open, 150);
    gate.open();
    ledger.settled(150).await;
    assert_eq!(
        *order.lock().unwrap_or_else(PoisonError::into_inner),
        (0..150).collect::<Vec<u64>>()
    );
    let panicked = ledger.by_token().iter().filter(|end| matches!(end, End::Panicked(_))).count();
    assert_eq!(panicked, 3);
    restarts(&*pool, fixture, 3).await;
    stop_well(&*pool).await;
}

/// A panic has the same effect before the future exists, before its first wait, and after it.
pub async fn p7_panic_at_any_point_of_a_handler(fixture: &dyn PoolFixture) {
    for kind in [Kind::Regular, Kind::Envelope] {
        let handler = erase(kind, |message: Message| {
            assert!(message.offset % 4 != 1, "before the future");
            async move {
                assert!(message.offset % 4 != 2, "before the wait");
                tokio::task::yield_now().await;
                assert!(message.offset % 4 != 3, "after the wait");
            }
        });
        let pool = fixture.pool(PoolOptions {
            workers: 2,
            default_handler: Some(handler),
            ..PoolOptions::default()
        });
        let ledger = Ledger::new();
        submit_all(&*pool, (0..40).map(|n| job(&ledger, n % 3, n))).await;
        ledger.settled(40).await;
        let texts = ["before the future", "before the wait", "after the wait"];
        for (end, n) in ledger.by_token().into_iter().zip(0..) {
            let expected =
                if n % 4 == 0 { End::Ok } else { End::Panicked(texts[n % 4 - 1].into()) };
            assert_eq!(end, expected, "message {n}, {kind}");
        }
        restarts(&*pool, fixture, if kind == Kind::Regular { 30 } else { 0 }).await;
        assert_eq!(pool.stats().panics, 30);
        stop_well(&*pool).await;
    }
}

/// The job's handler decides about a panic outside its future; the pool's default handler does not.
pub async fn p7_panic_outside_of_the_future_goes_to_its_own_handler(fixture: &dyn PoolFixture) {
    struct Brittle(Kind);
    impl ErasedHandler for Brittle {
        fn kind(&self) -> Kind {
            self.0
        }
        fn start(&self, _: &mut Job, _: &mut AttemptSlot) {
            panic!("no start")
        }
        fn panicked(&self, _: &mut Job, text: String) -> Step {
            Step::Done(Outcome::Failed(format!("{} handler: {text}", self.0).into()))
        }
    }
    let default = erase(Kind::Regular, async |_: Message| ());
    for default_handler in [None, Some(default)] {
        let pool =
            fixture.pool(PoolOptions { workers: 1, default_handler, ..PoolOptions::default() });
        let ledger = Ledger::new();
        let handlers: [Arc<dyn ErasedHandler>; 2] =
            [Arc::new(Brittle(Kind::Envelope)), Arc::new(Brittle(Kind::Regular))];
        let jobs = (0..10)
            .map(|n| job(&ledger, 1, n).with_handler(Arc::clone(&handlers[usize::from(n >= 8)])));
        submit_all(&*pool, jobs).await;
        ledger.settled(10).await;
        let mut expected = vec![End::Failed("envelope handler: no start".into()); 8];
        expected.extend(vec![End::Failed("regular handler: no start".into()); 2]);
        assert_eq!(ledger.by_token(), expected);
        restarts(&*pool, fixture, 2).await;
        stop_well(&*pool).await;
    }
}

/// A handler may retry attempts that panicked, and the key keeps its order.
pub async fn p7_panicked_attempt_may_be_retried(fixture: &dyn PoolFixture) {
    struct Stubborn(Arc<dyn ErasedHandler>);
    impl ErasedHandler for Stubborn {
        fn kind(&self) -> Kind {
            Kind::Regular
        }
        fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
            self.0.start(job, slot);
        }
        fn panicked(&self, _: &mut Job, _: String) -> Step {
            again(Duration::from_micros(10), false, None)
        }
    }
    let order: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
    let log = Arc::clone(&order);
    let script = scripted(Kind::Regular, move |attempt| {
        let message = attempt.message;
        log.lock().unwrap_or_else(PoisonError::into_inner).push((message.offset, message.attempt));
        async move {
            tokio::task::yield_now().await;
            assert!(message.offset != 1 || message.attempt == 3, "not yet");
            done()
        }
    });
    let options =
        PoolOptions { default_handler: Some(Arc::new(Stubborn(script))), ..PoolOptions::default() };
    let pool = fixture.pool(options);
    let ledger = Ledger::new();
    submit_all(&*pool, (0..4).map(|n| job(&ledger, 1, n))).await;
    ledger.settled(4).await;
    assert_eq!(
        *order.lock().unwrap_or_else(PoisonError::into_inner),
        [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]
    );
    restarts(&*pool, fixture, 2).await;
    stop_well(&*pool).await;
    let stats = pool.stats();
    assert_eq!((stats.ok, stats.retried), (4, 2), "{stats:?}");
}

/// Five of a hundred keys panic. The others lose no message and keep their order.
pub async fn p7_panics_of_some_keys_leave_the_others_alone(fixture: &dyn PoolFixture) {
    let recorder = Arc::new(Recorder::new(100));
    let script = |kind| {
        let recorder = Arc::clone(&recorder);
        erase(kind, move |message: Message| {
            let recorder = Arc::clone(&recorder);
            async move {
                let _visit = recorder.visit(&message);
                let (key, sequence) = key_and_sequence(&message);
                if sequence % 2 == 0 {
                    tokio::task::yield_now().await;
                }
                assert!(key >= 5, "key {key} panics");
            }
        })
    };
    let handlers = [script(Kind::Regular), script(Kind::Envelope)];
    let pool = fixture.pool(PoolOptions { workers: 8, ..PoolOptions::default() });
    let ledger = Ledger::new();
    let jobs = (0..1_000).map(|n| {
        let (key, sequence) = (n % 100, n / 100 + 1);
        job(&ledger, key, sequence).with_handler(Arc::clone(&handlers[usize::from(key % 2 == 0)]))
    });
    submit_all(&*pool, jobs).await;
    ledger.settled(1_000).await;
    assert_eq!((recorder.handled(), recorder.violations()), (1_000, 0));
    assert_eq!(ledger.count(|end| *end == End::Ok), 950);
    // Only keys 1 and 3 have regular messages, whose panics restart a worker.
    restarts(&*pool, fixture, 20).await;
    stop_well(&*pool).await;
}

/// A thousand messages of many keys, and one that panics in the middle.
pub async fn p7_panic_in_a_long_queue(fixture: &dyn PoolFixture) {
    let handler =
        erase(Kind::Regular, async |message: Message| assert!(message.offset != 100, "just once"));
    let options =
        PoolOptions { workers: 32, default_handler: Some(handler), ..PoolOptions::default() };
    let pool = fixture.pool(options);
    let ledger = Ledger::new();
    submit_all(&*pool, (0..1_000).map(|n| job(&ledger, n % 50, n))).await;
    ledger.settled(1_000).await;
    assert_eq!(ledger.count(|end| *end == End::Ok), 999);
    restarts(&*pool, fixture, 1).await;
    stop_well(&*pool).await;
}

const COOL_DOWN: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(60);

/// Key 0 waits at the gate. Other keys panic while their sequence is below 10.
fn brittle(entered: &Arc<Count>, gate: &Arc<Gate>) -> Arc<dyn ErasedHandler> {
    let (entered, gate) = (Arc::clone(entered), Arc::clone(gate));
    erase(Kind::Regular, move |message: Message| {
        let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
        async move {
            let (key, sequence) = key_and_sequence(&message);
            if key == 0 {
                entered.add();
                gate.wait().await;
            } else {
                assert!(sequence >= 10, "panic {sequence}");
            }
        }
    })
}

fn options(workers: usize, default_handler: Arc<dyn ErasedHandler>) -> PoolOptions {
    PoolOptions {
        workers,
        default_handler: Some(default_handler),
        wait_timeout: Duration::from_millis(500),
        max_restarts: 3,
        restart_window: WINDOW,
        cool_down: COOL_DOWN,
        ..PoolOptions::default()
    }
}

/// Waits until a supervised pool has `restarts` restarts and `down` workers in cool-down.
async fn settled_down(pool: &dyn Pool, fixture: &dyn PoolFixture, restarts: u64, down: usize) {
    let (restarts, down) = if fixture.is_supervised() { (restarts, down) } else { (0, 0) };
    until("the supervisor has done its work", || {
        let stats = pool.stats();
        stats.restarts == restarts && stats.workers_down == down
    })
    .await;
}

/// The fourth failure of a worker within the window begins its cool-down. The other worker runs the
/// remaining jobs.
pub async fn p8_failing_seat_cools_down_and_others_take_over(fixture: &dyn PoolFixture) {
    let (entered, gate) = (Arc::new(Count::default()), Arc::new(Gate::default()));
    let pool = fixture.pool(options(2, brittle(&entered, &gate)));
    let ledger = Ledger::new();
    // The busy worker leaves all panics to the other one.
    submit_all(&*pool, [job(&ledger, 0, 1)]).await;
    until("one worker is busy", || entered.get() == 1).await;
    submit_all(&*pool, (6..20).map(|n| job(&ledger, 1, n))).await;
    settled_down(&*pool, fixture, 3, 1).await;
    if fixture.is_supervised() {
        assert_eq!((pool.stats().panicked, pool.stats().ok, pool.stats().open), (4, 0, 11));
    }
    let now = Instant::now();
    gate.open();
    until("the other one has done the work", || pool.stats().open == 0).await;
    assert!(now.elapsed() < COOL_DOWN / 2, "nobody waited for the cool-down");
    assert_eq!(pool.stats().ok, 11);
    sleep(COOL_DOWN + Duration::from_secs(1)).await;
    settled_down(&*pool, fixture, 4, 0).await;
    submit_all(&*pool, (20..40).map(|n| job(&ledger, n, n))).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token().iter().filter(|end| **end == End::Ok).count(), 31);
}

/// More keys panic than all workers have restarts. Half of the workers stay in service, healthy
/// keys are handled, and no job waits for a cool-down.
pub async fn p8_storm_of_panics_leaves_workers_in_service(fixture: &dyn PoolFixture) {
    const STORM: u64 = 500;
    const HEALTHY: u64 = 50;
    for workers in [1, 2, 7, 8] {
        let recorder = Arc::new(Recorder::new(1_000));
        let seen = Arc::clone(&recorder);
        let handler = erase(Kind::Regular, move |message: Message| {
            let seen = Arc::clone(&seen);
            async move {
                let _visit = seen.visit(&message);
                assert!(key_and_sequence(&message).0 < HEALTHY, "a storm");
            }
        });
        let pool = fixture.pool(options(workers, handler));
        let ledger = Ledger::new();
        let began = Instant::now();
        for n in 0..STORM {
            let (healthy, sequence) = (n % HEALTHY, n / HEALTHY + 1);
            submit_all(&*pool, [job(&ledger, HEALTHY + n, 1), job(&ledger, healthy, sequence)])
                .await;
            if n % 50 == 49 {
                let so_far = usize::try_from(2 * (n + 1)).expect("not many");
                ledger.settled(so_far).await;
            }
        }
        assert!(began.elapsed() < COOL_DOWN / 2, "{workers} workers: {:?}", began.elapsed());
        let ends = ledger.by_token();
        assert!(ends.iter().step_by(2).all(|end| matches!(end, End::Panicked(_))), "{ends:?}");
        assert!(ends.iter().skip(1).step_by(2).all(|end| *end == End::Ok), "{ends:?}");
        assert_eq!((recorder.handled(), recorder.violations()), (2 * STORM, 0));
        let at_rest = workers / 2;
        settled_down(&*pool, fixture, STORM - at_rest as u64, at_rest).await;
        assert_eq!((pool.stats().panics, pool.stats().panicked), (STORM, STORM));
        // The resting workers return to service, and may fail again.
        sleep(COOL_DOWN + Duration::from_secs(1)).await;
        settled_down(&*pool, fixture, STORM, 0).await;
        stop_well(&*pool).await;
    }
}

/// A pool of two workers: one waits at the gate, and the other cools down.
async fn half_at_rest(
    fixture: &dyn PoolFixture,
    ledger: &Arc<Ledger>,
    gate: &Arc<Gate>,
) -> Arc<dyn Pool> {
    let entered = Arc::new(Count::default());
    let pool = fixture.pool(options(2, brittle(&entered, gate)));
    submit_all(&*pool, [job(ledger, 0, 1)]).await;
    until("one worker is busy", || entered.get() == 1).await;
    submit_all(&*pool, (6..10).map(|n| job(ledger, 1, n))).await;
    settled_down(&*pool, fixture, 3, 1).await;
    ledger.settled(4).await;
    pool
}

/// Three failures a minute for an hour begin no cool-down.
pub async fn p8_restarts_outside_of_the_window_are_forgotten(fixture: &dyn PoolFixture) {
    let (entered, gate) = (Arc::new(Count::default()), Arc::new(Gate::default()));
    let pool = fixture.pool(options(2, brittle(&entered, &gate)));
    let ledger = Ledger::new();
    // The busy worker leaves all panics to the other one.
    submit_all(&*pool, [job(&ledger, 0, 1)]).await;
    until("one worker is busy", || entered.get() == 1).await;
    for round in 1..=60 {
        submit_all(&*pool, (7..12).map(|n| job(&ledger, 1, n))).await;
        settled_down(&*pool, fixture, 3 * round, 0).await;
        sleep(WINDOW).await;
    }
    assert_eq!((pool.stats().panicked, pool.stats().ok), (180, 120));
    gate.open();
    stop_well(&*pool).await;
}

/// A cool-down does not delay the stop of an idle pool.
pub async fn p8_stop_does_not_wait_for_a_cool_down(fixture: &dyn PoolFixture) {
    let (ledger, gate) = (Ledger::new(), Arc::new(Gate::default()));
    let pool = half_at_rest(fixture, &ledger, &gate).await;
    gate.open();
    ledger.settled(5).await;
    let asked = Instant::now();
    stop_well(&*pool).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    settled_down(&*pool, fixture, 3, 0).await;
    assert_eq!(
        pool.try_submit(&mut VecDeque::from([job(&ledger, 1, 10)])),
        Err(SubmitError::Stopped)
    );
}

/// While the pool stops, queued jobs without a free worker wait for the cool-down to end, at most
/// until the deadline.
pub async fn p8_stop_ends_a_cool_down_at_the_deadline(fixture: &dyn PoolFixture) {
    for (deadline, abandoned) in [(Duration::from_secs(10), 6), (2 * COOL_DOWN, 1)] {
        let (ledger, gate) = (Ledger::new(), Arc::new(Gate::default()));
        let pool = half_at_rest(fixture, &ledger, &gate).await;
        submit_all(&*pool, (10..15).map(|n| job(&ledger, 1, n))).await;
        // The handler at the gate never returns.
        let abandoned = if fixture.is_supervised() { abandoned } else { 1 };
        let asked = Instant::now();
        let mut stopping = pool.stop(deadline);
        is_waiting(&mut stopping).await;
        until("the pool has closed", || {
            pool.try_submit(&mut VecDeque::from([job(&ledger, 1, 15)])) == Err(SubmitError::Stopped)
        })
        .await;
        let report = stopping.await;
        assert_eq!((report.abandoned, report.stragglers), (abandoned, 0), "{report:?}");
        assert!(asked.elapsed() <= deadline + Duration::from_secs(1), "{:?}", asked.elapsed());
        assert_eq!(pool.stats().open, 0);
    }
}

/// A draining pool replaces actors that fail, so that queued jobs still run.
pub async fn p10_panics_do_not_end_a_drain(fixture: &dyn PoolFixture) {
    let (entered, gate) = (Arc::new(Count::default()), Arc::new(Gate::default()));
    let pool = fixture.pool(options(1, brittle(&entered, &gate)));
    let ledger = Ledger::new();
    submit_all(&*pool, [job(&ledger, 0, 1)]).await;
    until("the worker is busy", || entered.get() == 1).await;
    submit_all(&*pool, (7..20).map(|n| job(&ledger, 1, n))).await;
    let mut stopping = pool.stop(Duration::from_secs(20));
    is_waiting(&mut stopping).await;
    gate.open();
    let report = stopping.await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (14, 0, 0), "{report:?}");
    assert_eq!((pool.stats().panicked, pool.stats().ok), (3, 11));
}
