//! Retries wait in their lane: the key keeps its order, and other keys continue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use buslane_core::{
    AttemptSlot, ErasedHandler, Job, Kind, Message, NextAttempt, Outcome, SubmitError, erase,
};
use buslane_lanes::Bounds;

use super::kit::{
    again, at_once, done, gated, is_waiting, job, scripted, stop_well, submit_all, try_one,
};
use super::{PoolFixture, PoolOptions};
use crate::deadline::{LIMIT, timed, until, within};
use crate::ledger::{End, Ledger};
use crate::recorder::key_and_sequence;
use crate::signal::{Count, Gate};

type Log = Arc<Mutex<Vec<(u64, u64, u32)>>>;

fn write(log: &Log, entry: (u64, u64, u32)) {
    log.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
}

fn of_key(log: &Log, key: u64) -> Vec<(u64, u32)> {
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().filter(|entry| entry.0 == key).map(|entry| (entry.1, entry.2)).collect()
}

/// Messages queue behind one that needs three attempts, and run in order.
pub async fn d3_retry_keeps_the_order_of_its_key(fixture: &dyn PoolFixture) {
    let log = Log::default();
    let handler = {
        let log = Arc::clone(&log);
        scripted(Kind::Envelope, move |attempt| {
            let log = Arc::clone(&log);
            async move {
                let (key, sequence) = key_and_sequence(&attempt.message);
                write(&log, (key, sequence, attempt.message.attempt));
                if key % 2 == 0 {
                    tokio::task::yield_now().await;
                }
                if sequence == key % 5 && attempt.message.attempt < 3 {
                    return again(Duration::from_micros(300 * key), false, None);
                }
                done()
            }
        })
    };
    let pool = fixture.pool(PoolOptions {
        workers: 4,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..200).map(|n| job(&ledger, n % 20, n / 20))).await;
    ledger.settled(200).await;
    for key in 0..20 {
        let attempts = |sequence| if sequence == key % 5 { 1..=3 } else { 1..=1 };
        let expected: Vec<(u64, u32)> =
            (0..10).flat_map(|n| attempts(n).map(move |attempt| (n, attempt))).collect();
        assert_eq!(of_key(&log, key), expected, "key {key}");
    }
    stop_well(&*pool).await;
    let stats = pool.stats();
    assert_eq!((stats.ok, stats.retried), (200, 40), "{stats:?}");
}

/// A handler with five attempts. Each knows the number of the previous one.
struct Numbered(u32);

impl Numbered {
    fn begin(&self, job: &Job, slot: &mut AttemptSlot) {
        let numbers = (self.0, job.message.attempt);
        slot.start(&Arc::new(()), numbers, |_, (before, attempt)| async move {
            assert_eq!(before + 1, attempt);
            let next = || again(Duration::ZERO, false, Some(Box::new(Self(attempt))));
            if attempt == 5 { done() } else { next() }
        });
    }
}

impl ErasedHandler for Numbered {
    fn kind(&self) -> Kind {
        Kind::Envelope
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        self.begin(job, slot);
    }
}

impl NextAttempt for Numbered {
    fn start(self: Box<Self>, job: &mut Job, slot: &mut AttemptSlot) {
        self.begin(job, slot);
    }
}

/// Attempts are numbered from 1, and the state of each attempt starts the next one.
pub async fn d3_attempts_count_up_and_keep_their_state(fixture: &dyn PoolFixture) {
    let handler = Arc::new(Numbered(0));
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..20).map(|n| job(&ledger, n % 4, n))).await;
    ledger.settled(20).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 20]);
    assert_eq!(pool.stats().retried, 80);
    stop_well(&*pool).await;
}

/// Keys whose messages are out of attempts are counted until they recover.
pub async fn d3_blocked_keys_are_counted(fixture: &dyn PoolFixture) {
    let healed = Arc::new(Count::default());
    let handler = {
        let healed = Arc::clone(&healed);
        scripted(Kind::Envelope, move |attempt| {
            let step = if healed.get() > 0 {
                done()
            } else {
                again(Duration::from_millis(50), attempt.message.offset == 0, None)
            };
            async move { step }
        })
    };
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let ledger = Ledger::new();
    // Offset 0 counts as out of attempts. Keys 0 to 2 begin with it, key 3 does not.
    submit_all(&*pool, (0..3).flat_map(|key| [job(&ledger, key, 0), job(&ledger, key, 1)])).await;
    submit_all(&*pool, [job(&ledger, 3, 9)]).await;
    until("all keys wait", || {
        let stats = pool.stats();
        (stats.deferred_lanes, stats.blocked_lanes, stats.failing) == (4, 3, 7)
    })
    .await;
    healed.add();
    ledger.settled(7).await;
    until("nobody waits", || {
        let stats = pool.stats();
        (stats.deferred_lanes, stats.blocked_lanes, stats.failing) == (0, 0, 0)
    })
    .await;
    stop_well(&*pool).await;
}

/// A stop does not wait for retries.
pub async fn p10_waiting_retry_is_abandoned_at_stop(fixture: &dyn PoolFixture) {
    let handler = scripted(Kind::Envelope, async |attempt| match attempt.message.offset {
        0 => again(Duration::from_hours(1), false, None),
        _ => done(),
    });
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..5).map(|n| job(&ledger, 1, n)).chain([job(&ledger, 2, 1)])).await;
    until("the key waits and the other is done", || {
        pool.stats().deferred_lanes == 1 && pool.stats().ok == 1
    })
    .await;
    let (report, took) = timed(within(LIMIT, "the pool stops", pool.stop(LIMIT))).await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 5, 0), "{report:?}");
    assert!(took < LIMIT / 2, "{took:?}");
    assert_eq!(ledger.count(|end| *end == End::Abandoned), 5);
}

/// A message that needs another attempt while the pool stops is abandoned. The messages behind it
/// must not overtake it, so they are abandoned too.
pub async fn p10_attempt_that_fails_during_stop_takes_its_lane_along(fixture: &dyn PoolFixture) {
    let (gate, entered, log) =
        (Arc::new(Gate::default()), Arc::new(Count::default()), Log::default());
    let handler = {
        let (gate, entered, log) = (Arc::clone(&gate), Arc::clone(&entered), Arc::clone(&log));
        scripted(Kind::Envelope, move |attempt| {
            let (gate, entered, log) = (Arc::clone(&gate), Arc::clone(&entered), Arc::clone(&log));
            async move {
                let (key, sequence) = key_and_sequence(&attempt.message);
                write(&log, (key, sequence, attempt.message.attempt));
                entered.add();
                gate.wait().await;
                if key == 1 && sequence == 0 { again(Duration::ZERO, false, None) } else { done() }
            }
        })
    };
    let bounds = Bounds { lane_messages: 5, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions {
        bounds,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..10).map(|n| job(&ledger, n % 2, n / 2))).await;
    within(LIMIT, "both keys have begun", entered.reached(2)).await;
    let mut stopping = pool.stop(LIMIT);
    is_waiting(&mut stopping).await;
    // An open pool refuses this job too, because its lane is full.
    until("the pool has closed", || {
        try_one(&*pool, job(&ledger, 0, 9)) == Err(SubmitError::Stopped)
    })
    .await;
    gate.open();
    let report = within(LIMIT, "the pool stops", stopping).await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (5, 5, 0), "{report:?}");
    assert_eq!(of_key(&log, 0), (0..5).map(|n| (n, 1)).collect::<Vec<_>>());
    assert_eq!(of_key(&log, 1), [(0, 1)], "nothing overtakes an abandoned message");
}

/// An attempt without a delay starts in place of the previous one. It counts as no retry, and a
/// stop does not abandon it unless its source is revoked.
pub async fn d5_end_of_a_job_goes_on_at_once(fixture: &dyn PoolFixture) {
    for (is_revoked, end) in [(false, End::Ok), (true, End::Abandoned)] {
        let (gate, entered) = (Arc::new(Gate::default()), Arc::new(Count::default()));
        let handler = {
            let (gate, entered) = (Arc::clone(&gate), Arc::clone(&entered));
            scripted(Kind::Envelope, move |attempt| {
                let (gate, entered) = (Arc::clone(&gate), Arc::clone(&entered));
                async move {
                    entered.add();
                    gate.wait().await;
                    match attempt.message.attempt {
                        1 => at_once(Outcome::Panicked("counted once".to_owned())),
                        _ => done(),
                    }
                }
            })
        };
        let pool =
            fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
        let ledger = Ledger::new();
        let job = job(&ledger, 1, 0);
        let source = Arc::clone(&job.message.source);
        submit_all(&*pool, [job]).await;
        within(LIMIT, "it has begun", entered.reached(1)).await;
        let mut stopping = pool.stop(LIMIT);
        is_waiting(&mut stopping).await;
        if is_revoked {
            source.end();
        }
        gate.open();
        within(LIMIT, "the pool stops", stopping).await;
        assert_eq!(ledger.by_token(), [end]);
        let (stats, goes_on) = (pool.stats(), u64::from(!is_revoked));
        assert_eq!((stats.retried, stats.panicked, stats.panics), (0, 0, goes_on), "{stats:?}");
        assert_eq!(entered.get() as u64, 1 + goes_on);
    }
}

/// Retries run when they are due: not before, and not much later.
pub async fn d3_retries_run_when_they_are_due(fixture: &dyn PoolFixture) {
    let started = tokio::time::Instant::now();
    let log: Arc<Mutex<Vec<(u64, u128)>>> = Arc::default();
    let handler = {
        let log = Arc::clone(&log);
        scripted(Kind::Envelope, move |attempt| {
            let log = Arc::clone(&log);
            async move {
                let (key, _) = key_and_sequence(&attempt.message);
                let now = started.elapsed().as_millis();
                log.lock().unwrap_or_else(PoisonError::into_inner).push((key, now));
                if attempt.message.attempt == 4 {
                    return done();
                }
                again(Duration::from_secs(60 * (key + 1)), false, None)
            }
        })
    };
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..3).map(|key| job(&ledger, key, 1))).await;
    while ledger.ends().len() < 3 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    for key in 0..3 {
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let times = log.iter().filter(|entry| entry.0 == key).map(|entry| entry.1);
        for (time, attempt) in times.zip(0..) {
            let due = u128::from(60_000 * (key + 1)) * attempt;
            assert!(
                (due..due + 20).contains(&time),
                "key {key}, attempt {attempt}: {time} ms, due at {due} ms"
            );
        }
    }
    stop_well(&*pool).await;
}

/// The timer for a late retry wakes for an earlier one.
pub async fn d3_sooner_retry_is_not_held_up_by_a_later_one(fixture: &dyn PoolFixture) {
    let handler = scripted(Kind::Envelope, async |attempt| {
        let (key, _) = key_and_sequence(&attempt.message);
        if attempt.message.attempt > 1 {
            return done();
        }
        again(Duration::from_secs(if key == 0 { 3_600 } else { 1 }), false, None)
    });
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let ledger = Ledger::new();
    let started = tokio::time::Instant::now();
    submit_all(&*pool, [job(&ledger, 0, 1)]).await;
    until("the first key waits", || pool.stats().deferred_lanes == 1).await;
    for (key, count) in [(1, 1), (2, 2)] {
        submit_all(&*pool, [job(&ledger, key, 1)]).await;
        ledger.settled(count).await;
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let report = pool.stop(Duration::ZERO).await;
    assert_eq!((report.abandoned, report.stragglers), (1, 0), "{report:?}");
}

/// Messages behind a failing key use none of the capacity of other keys.
pub async fn p3_failing_work_is_charged_apart(fixture: &dyn PoolFixture) {
    let gate = Arc::new(Gate::default());
    let healed = Arc::new(Gate::default());
    let failing = {
        let healed = Arc::clone(&healed);
        scripted(Kind::Envelope, move |attempt| {
            let healed = Arc::clone(&healed);
            async move {
                if attempt.message.attempt == 1 && attempt.message.offset == 1 {
                    return again(Duration::from_millis(1), true, None);
                }
                // The gate delays the second attempt, so that the test decides when the key
                // recovers.
                healed.wait().await;
                done()
            }
        })
    };
    let bounds =
        Bounds { messages: 10, lane_messages: 6, failing_messages: 6, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions {
        bounds,
        default_handler: Some(gated(&gate)),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    let failing_job = |sequence| job(&ledger, 1_000, sequence).with_handler(Arc::clone(&failing));
    assert_eq!(try_one(&*pool, failing_job(1)), Ok(()));
    until("the key waits for its retry", || pool.stats().retried == 1).await;
    for sequence in 2..=6 {
        assert_eq!(try_one(&*pool, failing_job(sequence)), Ok(()));
    }
    assert_eq!(pool.stats().failing, 6);
    for key in 0..10 {
        assert_eq!(try_one(&*pool, job(&ledger, key, 1)), Ok(()), "key {key}");
    }
    let refused = try_one(&*pool, job(&ledger, 10, 1));
    assert!(matches!(refused, Err(SubmitError::PoolFull { messages: 10, .. })), "{refused:?}");
    gate.open();
    healed.open();
    ledger.settled(16).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.count(|end| *end == End::Ok), 16);
}

/// At the bound of failing keys' messages, the pool refuses only failing keys.
pub async fn p3_failing_bound_refuses_failing_keys_alone(fixture: &dyn PoolFixture) {
    let failing = scripted(Kind::Envelope, async |_| again(Duration::from_hours(1), true, None));
    let healthy = erase(Kind::Regular, async |_: Message| ());
    let bounds = Bounds { messages: 10, failing_messages: 5, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions {
        bounds,
        default_handler: Some(healthy),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    let failing_job = |sequence| job(&ledger, 1_000, sequence).with_handler(Arc::clone(&failing));
    assert_eq!(try_one(&*pool, failing_job(1)), Ok(()));
    until("the key waits for its retry", || pool.stats().deferred_lanes == 1).await;
    for sequence in 2..=5 {
        assert_eq!(try_one(&*pool, failing_job(sequence)), Ok(()));
    }
    assert_eq!(try_one(&*pool, failing_job(6)), Err(SubmitError::FailingFull { messages: 5 }));
    submit_all(&*pool, (0..100).map(|n| job(&ledger, n % 13, n))).await;
    until("the healthy keys are done", || pool.stats().ok == 100).await;
    let report = pool.stop(LIMIT).await;
    assert_eq!((report.abandoned, report.stragglers), (5, 0), "{report:?}");
}
