//! Workers that fail repeatedly cool down while others do their work, and no key is stuck.
//!
//! The scenarios run with paused time. An unsupervised pool runs the same scripts without restarts.

use super::{
    PoolFixture, PoolOptions,
    kit::{is_waiting, job, stop_well, submit_all},
};
use crate::{
    deadline::until,
    ledger::{End, Ledger},
    recorder::{Recorder, key_and_sequence},
    signal::{Count, Gate},
};
use buslane_core::{ErasedHandler, Kind, Message, Pool, SubmitError, erase};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

const COOL_DOWN: Duration = Duration::from_secs(30);
const WINDOW: Duration = Duration::from_secs(60);

/// Key 0 waits at the gate; others panic while their sequence is below 10.
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

/// Waits until the pool's handlers have panicked so often, and its workers were restarted.
async fn settled_down(pool: &dyn Pool, fixture: &dyn PoolFixture, restarts: u64, down: usize) {
    let (restarts, down) = if fixture.is_supervised() { (restarts, down) } else { (0, 0) };
    until("the supervisor has done its work", || {
        let stats = pool.stats();
        stats.restarts == restarts && stats.workers_down == down
    })
    .await;
}

/// The fourth failure of a worker within the window begins its cool-down. The other one does the
/// work.
pub async fn p8_failing_seat_cools_down_and_others_take_over(fixture: &dyn PoolFixture) {
    let (entered, gate) = (Arc::new(Count::default()), Arc::new(Gate::default()));
    let pool = fixture.pool(options(2, brittle(&entered, &gate)));
    let ledger = Ledger::new();
    // One worker is kept busy, so that all panics meet the other one.
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

/// More panics of different keys than all workers have restarts: half of the workers stay in
/// service, healthy keys are handled, and nothing waits for a cool-down.
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
        // Those at rest come back, and may fail again.
        sleep(COOL_DOWN + Duration::from_secs(1)).await;
        settled_down(&*pool, fixture, STORM, 0).await;
        stop_well(&*pool).await;
    }
}

/// A pool of two workers: one waits at the gate, and the other one cools down.
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
    // One worker is kept busy, so that all panics meet the other one.
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

/// While the pool stops, queued jobs without a free worker wait for the cool-down, up to the
/// deadline.
pub async fn p8_stop_ends_a_cool_down_at_the_deadline(fixture: &dyn PoolFixture) {
    for (deadline, abandoned) in [(Duration::from_secs(10), 6), (2 * COOL_DOWN, 1)] {
        let (ledger, gate) = (Ledger::new(), Arc::new(Gate::default()));
        let pool = half_at_rest(fixture, &ledger, &gate).await;
        submit_all(&*pool, (10..15).map(|n| job(&ledger, 1, n))).await;
        // The handler at the gate never ends.
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

/// Actors that fail while the pool drains are replaced too, so that queued jobs still run.
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
