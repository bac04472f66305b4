//! Stopping a pool: it refuses new jobs, finishes accepted ones before the deadline, joins its
//! tasks, and gives every caller the same answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buslane_core::{ErasedHandler, Job, Kind, Message, Pool, Source, SubmitError, erase};
use buslane_lanes::Bounds;

use super::kit::{again, done, is_waiting, job, message, scripted, stop_well, submit_all, try_one};
use super::{PoolFixture, PoolOptions};
use crate::deadline::{LIMIT, timed, until, within};
use crate::leak;
use crate::ledger::{End, Ledger};
use crate::recorder::key_and_sequence;
use crate::signal::{Barrier, Count, Gate};

/// A handler that counts its starts, and waits until the gate opens.
fn gated(entered: &Arc<Count>, gate: &Arc<Gate>) -> Arc<dyn ErasedHandler> {
    let (entered, gate) = (Arc::clone(entered), Arc::clone(gate));
    erase(Kind::Regular, move |_: Message| {
        let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
        async move {
            entered.add();
            gate.wait().await;
        }
    })
}

struct Busy {
    pool: Arc<dyn Pool>,
    ledger: Arc<Ledger>,
    gate: Arc<Gate>,
    entered: Arc<Count>,
}

/// A pool whose four workers all run a waiting handler, with 40 jobs of ten keys.
async fn busy(fixture: &dyn PoolFixture) -> Busy {
    let (gate, entered) = (Arc::new(Gate::default()), Arc::new(Count::default()));
    let default_handler = Some(gated(&entered, &gate));
    let bounds = Bounds { lane_messages: 4, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions { bounds, default_handler, ..PoolOptions::default() });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..40).map(|n| job(&ledger, n % 10, n / 10))).await;
    within(LIMIT, "all workers are busy", entered.reached(4)).await;
    Busy { pool, ledger, gate, entered }
}

/// Waits until the pool refuses jobs. Probes with a key whose lane is full, so that no probe is
/// accepted.
async fn closed(pool: &dyn Pool, ledger: &Arc<Ledger>) {
    until("the pool takes no more work", || match try_one(pool, job(ledger, 0, 99)) {
        Err(SubmitError::LaneFull { .. }) => false,
        Err(SubmitError::Stopped) => true,
        other => panic!("{other:?}"),
    })
    .await;
}

/// Jobs that were accepted before the stop finish.
pub async fn p10_stop_runs_what_is_queued(fixture: &dyn PoolFixture) {
    let handler = erase(Kind::Regular, async |message: Message| match message.offset % 3 {
        0 => tokio::task::yield_now().await,
        1 => {}
        _ => panic!("a panic"),
    });
    let pool = fixture.pool(PoolOptions {
        workers: 16,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    let before = pool.stats();
    submit_all(&*pool, (0..3_000).map(|n| job(&ledger, n % 100, n))).await;
    let report = within(LIMIT, "the pool stops", pool.stop(LIMIT)).await;
    let ended = ledger.by_token().len() as u64;
    assert_eq!((ended, report.abandoned, report.stragglers), (3_000, 0, 0), "{report:?}");
    assert!(report.finished <= ended && before.ok == 0, "{report:?}");
    assert_eq!(ledger.count(|end| *end == End::Ok), 2_000);
}

/// An idle pool stops at once, whatever the deadline.
pub async fn p10_stop_of_an_idle_pool_is_immediate(fixture: &dyn PoolFixture) {
    for deadline in [Duration::ZERO, Duration::from_hours(1)] {
        let pool = fixture.pool(PoolOptions { workers: 256, ..PoolOptions::default() });
        let report = within(LIMIT, "the pool stops", pool.stop(deadline)).await;
        assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 0, 0));
        leak::no_more_tasks_than(0).await;
    }
}

/// The deadline cancels waiting handlers, and abandons the other jobs without running them.
pub async fn p10_deadline_abandons_the_rest(fixture: &dyn PoolFixture) {
    for deadline in [Duration::ZERO, Duration::from_millis(30)] {
        let Busy { pool, ledger, entered, .. } = busy(fixture).await;
        let (report, took) = timed(within(LIMIT, "the pool stops", pool.stop(deadline))).await;
        assert_eq!(
            (report.finished, report.abandoned, report.stragglers),
            (0, 40, 0),
            "{report:?}"
        );
        assert!(took >= deadline && report.elapsed >= deadline, "{took:?}");
        assert_eq!(ledger.by_token(), vec![End::Abandoned; 40]);
        assert_eq!(entered.get(), 4, "nothing runs behind what was cut off");
        let stats = pool.stats();
        assert_eq!((stats.open, stats.open_bytes, stats.abandoned), (0, 0, 40), "{stats:?}");
        leak::no_more_tasks_than(0).await;
    }
}

/// A stop waits for running handlers, and each message runs once.
pub async fn p10_running_handler_is_waited_for(fixture: &dyn PoolFixture) {
    let Busy { pool, ledger, gate, entered } = busy(fixture).await;
    let mut stopping = pool.stop(LIMIT);
    is_waiting(&mut stopping).await;
    let refused = Ledger::new();
    closed(&*pool, &refused).await;
    is_waiting(&mut stopping).await;
    assert_eq!(ledger.ends(), []);
    gate.open();
    let report = within(LIMIT, "the pool stops", stopping).await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (40, 0, 0), "{report:?}");
    assert_eq!((entered.get(), ledger.by_token()), (40, vec![End::Ok; 40]));
}

/// Concurrent and later calls of stop get the same answer.
pub async fn p10_concurrent_stops_get_the_same_answer(fixture: &dyn PoolFixture) {
    let Busy { pool, gate, .. } = busy(fixture).await;
    let asked = Arc::new(Count::default());
    let callers: Vec<_> = (0..8)
        .map(|n| {
            let (pool, asked) = (Arc::clone(&pool), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut stopping = pool.stop(LIMIT + Duration::from_secs(n));
                is_waiting(&mut stopping).await;
                asked.add();
                stopping.await
            })
        })
        .collect();
    within(LIMIT, "all have asked", asked.reached(8)).await;
    gate.open();
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(within(LIMIT, "an answer", caller).await.expect("no panic"));
    }
    answers.push(within(LIMIT, "a late answer", pool.stop(Duration::ZERO)).await);
    assert_eq!((answers[0].finished, answers[0].abandoned), (40, 0), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// A stop continues after its caller is cancelled.
pub async fn p10_cancelled_stop_goes_on(fixture: &dyn PoolFixture) {
    let Busy { pool, ledger, gate, .. } = busy(fixture).await;
    let mut stopping = pool.stop(LIMIT);
    is_waiting(&mut stopping).await;
    drop(stopping);
    gate.open();
    ledger.settled(40).await;
    leak::no_more_tasks_than(0).await;
    let report = within(LIMIT, "the answer of the first call", pool.stop(Duration::ZERO)).await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (40, 0, 0), "{report:?}");
}

/// A stopped pool refuses jobs at once with an error.
pub async fn p10_stopped_pool_refuses_work(fixture: &dyn PoolFixture) {
    let handler = erase(Kind::Regular, async |_: Message| ());
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    stop_well(&*pool).await;
    let ledger = Ledger::new();
    let mut batch: VecDeque<Job> = (0..3).map(|n| job(&ledger, n, n)).collect();
    assert_eq!(pool.try_submit(&mut batch), Err(SubmitError::Stopped));
    let (refused, took) = timed(pool.submit(&mut batch)).await;
    assert_eq!(refused, Err(SubmitError::Stopped));
    assert!(took < LIMIT / 2 && !SubmitError::Stopped.is_temporary());
    assert_eq!(batch.len(), 3);
    assert_eq!(pool.purge(&|_| true), 0);
    assert_eq!(pool.stats().accepted, 0);
}

/// Submitters that wait for capacity get an error at once.
pub async fn p10_stop_wakes_waiting_submitters(fixture: &dyn PoolFixture) {
    let (gate, entered) = (Arc::new(Gate::default()), Arc::new(Count::default()));
    let pool = fixture.pool(PoolOptions {
        bounds: Bounds { messages: 2, ..Bounds::default() },
        default_handler: Some(gated(&entered, &gate)),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    let mut batch: VecDeque<Job> = (0..5).map(|n| job(&ledger, n, n)).collect();
    let mut waiting = pool.submit(&mut batch);
    is_waiting(&mut waiting).await;
    let mut stopping = pool.stop(LIMIT);
    is_waiting(&mut stopping).await;
    assert_eq!(
        within(LIMIT / 2, "the submitter hears of it", waiting).await,
        Err(SubmitError::Stopped)
    );
    assert_eq!(batch.len(), 3);
    gate.open();
    let report = within(LIMIT, "the pool stops", stopping).await;
    assert_eq!((report.finished, report.abandoned), (2, 0), "{report:?}");
}

/// Accepted jobs end, and all others stay with their submitter.
pub async fn p10_stop_while_submitting_loses_nothing(fixture: &dyn PoolFixture) {
    for round in 0..10 {
        let handler = erase(Kind::Regular, async |_: Message| tokio::task::yield_now().await);
        let bounds = Bounds { messages: 100, ..Bounds::default() };
        let pool = fixture.pool(PoolOptions {
            bounds,
            default_handler: Some(handler),
            ..PoolOptions::default()
        });
        let (ledger, begun) = (Ledger::new(), Arc::new(Count::default()));
        let submitters: Vec<_> = (0..4)
            .map(|submitter| {
                let (pool, ledger, begun) =
                    (Arc::clone(&pool), Arc::clone(&ledger), Arc::clone(&begun));
                tokio::spawn(async move {
                    for n in 0.. {
                        let mut batch: VecDeque<Job> =
                            (0..30).map(|at| job(&ledger, submitter, n * 30 + at)).collect();
                        begun.add();
                        if let Err(error) = pool.submit(&mut batch).await {
                            assert_eq!(error, SubmitError::Stopped);
                            return batch.len();
                        }
                    }
                    0
                })
            })
            .collect();
        within(LIMIT, "submitting is under way", begun.reached(8 + round * 10)).await;
        let report = within(LIMIT, "the pool stops", pool.stop(LIMIT)).await;
        assert_eq!((report.abandoned, report.stragglers), (0, 0), "{report:?}");
        let mut left = 0;
        for submitter in submitters {
            left += within(LIMIT, "the submitter hears of it", submitter).await.expect("no panic");
        }
        let stats = pool.stats();
        let done = ledger.by_token().iter().filter(|end| **end == End::Ok).count();
        assert_eq!(stats.accepted, stats.ok, "{stats:?}");
        assert_eq!(
            (done as u64, done + left),
            (stats.ok, usize::try_from(ledger.issued()).expect("not many"))
        );
    }
}

/// The report counts a handler that does not return even when cancelled as a straggler. The stop
/// does not wait for it.
pub async fn p10_handler_that_blocks_its_thread_is_a_straggler(fixture: &dyn PoolFixture) {
    let (barrier, entered) = (Arc::new(Barrier::default()), Arc::new(Count::default()));
    let handler = {
        let (barrier, entered) = (Arc::clone(&barrier), Arc::clone(&entered));
        erase(Kind::Regular, move |_: Message| {
            let (barrier, entered) = (Arc::clone(&barrier), Arc::clone(&entered));
            async move {
                entered.add();
                assert!(barrier.block(), "the test goes on");
            }
        })
    };
    let pool = fixture.pool(PoolOptions {
        workers: 3,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..5).map(|n| job(&ledger, 1, n))).await;
    within(LIMIT, "the handler has begun", entered.reached(1)).await;
    let (report, took) =
        timed(within(LIMIT, "the pool stops", pool.stop(Duration::from_millis(10)))).await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 4, 1), "{report:?}");
    assert!(took < LIMIT / 4, "{took:?}");
    assert_eq!(pool.stats().open, 1);
    barrier.open();
    ledger.settled(5).await;
    until("it has come back after all", || pool.stats().open == 0).await;
    assert_eq!(entered.get(), 1, "nothing runs behind it");
}

/// The first message of each key runs and succeeds. The purge drops the queued messages of even
/// keys, including those that a worker has already taken.
pub async fn p5_purge_drops_what_is_queued_and_not_what_runs(fixture: &dyn PoolFixture) {
    for blocks in [false, true] {
        let (gate, barrier, entered) =
            (Arc::new(Gate::default()), Arc::new(Barrier::default()), Arc::new(Count::default()));
        let handler = {
            let (gate, barrier, entered) =
                (Arc::clone(&gate), Arc::clone(&barrier), Arc::clone(&entered));
            erase(Kind::Regular, move |_: Message| {
                let (gate, barrier, entered) =
                    (Arc::clone(&gate), Arc::clone(&barrier), Arc::clone(&entered));
                async move {
                    entered.add();
                    if blocks {
                        assert!(barrier.block(), "the test goes on");
                    } else {
                        gate.wait().await;
                    }
                }
            })
        };
        let pool = fixture.pool(PoolOptions {
            workers: 2,
            default_handler: Some(handler),
            ..PoolOptions::default()
        });
        let ledger = Ledger::new();
        submit_all(&*pool, (0..60).map(|n| job(&ledger, n % 6, n / 6))).await;
        within(LIMIT, "both workers are busy", entered.reached(2)).await;
        let even = |job: &Job| key_and_sequence(&job.message).0.is_multiple_of(2);
        let purged = pool.purge(&even);
        assert!((28..=30).contains(&purged), "all but those that run: {purged}");
        assert_eq!(ledger.count(|end| *end == End::Abandoned), purged);
        assert_eq!(pool.purge(&even), 0);
        let stats = pool.stats();
        assert_eq!((stats.abandoned, stats.open), (purged as u64, 60 - purged), "{stats:?}");
        gate.open();
        barrier.open();
        stop_well(&*pool).await;
        assert_eq!(ledger.by_token().iter().filter(|end| **end == End::Ok).count(), 60 - purged);
    }
}

/// A purge also drops messages that wait for a retry. Purged messages free their capacity at once.
pub async fn p5_purge_reaches_retries_and_makes_room(fixture: &dyn PoolFixture) {
    let handler = scripted(Kind::Envelope, async |attempt| {
        let (key, _) = key_and_sequence(&attempt.message);
        if key == 0 { again(Duration::from_hours(1), true, None) } else { done() }
    });
    let bounds = Bounds { messages: 4, lane_messages: 3, failing_messages: 4, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions {
        bounds,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..3).map(|n| job(&ledger, 0, n))).await;
    until("the key waits", || pool.stats().blocked_lanes == 1).await;
    assert_eq!(try_one(&*pool, job(&ledger, 0, 3)), Err(SubmitError::LaneFull { limit: 3 }));
    let mut next = std::collections::VecDeque::from([job(&ledger, 0, 4)]);
    let mut waiting = pool.submit(&mut next);
    super::kit::is_waiting(&mut waiting).await;
    assert_eq!(pool.purge(&|job| job.message.offset < 3), 3);
    within(LIMIT, "there is room", waiting).await.expect("room");
    until("the key waits again", || pool.stats().blocked_lanes == 1).await;
    assert_eq!(pool.purge(&|_| true), 1);
    let stats = pool.stats();
    assert_eq!(
        (stats.open, stats.failing, stats.lanes, stats.blocked_lanes),
        (0, 0, 0, 0),
        "{stats:?}"
    );
    submit_all(&*pool, (1..20).map(|key| job(&ledger, key, 1))).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.count(|end| *end == End::Ok), 19);
}

/// A source closes its fence when another member may own the partition. Running messages then
/// finish, and queued or retrying ones are abandoned.
pub async fn p5_what_is_not_held_does_not_start(fixture: &dyn PoolFixture) {
    const KEYS: u64 = 4;
    const FIRST: usize = 4;
    let (gate, entered, held) =
        (Arc::new(Gate::default()), Arc::new(Count::default()), Arc::new(AtomicBool::new(true)));
    let (waits, counts) = (Arc::clone(&gate), Arc::clone(&entered));
    let handler = scripted(Kind::Envelope, move |attempt| {
        let (counts, waits) = (Arc::clone(&counts), Arc::clone(&waits));
        async move {
            counts.add();
            waits.wait().await;
            // The first message of each key asks for a retry, except that of the last key.
            let (key, _) = key_and_sequence(&attempt.message);
            if key + 1 < KEYS { again(Duration::from_millis(1), false, None) } else { done() }
        }
    });
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let (ledger, is_held) = (Ledger::new(), Arc::clone(&held));
    let topic = message(0, 0).source.topic.clone();
    let source = Arc::new(Source::new(topic, 0).with_fence(move || is_held.load(SeqCst)));
    let of_source = |n: u64| {
        let mut job = job(&ledger, n % KEYS, n / KEYS);
        job.message.source = Arc::clone(&source);
        job
    };
    submit_all(&*pool, (0..40).map(of_source)).await;
    within(LIMIT, "one of each key runs", entered.reached(FIRST)).await;
    held.store(false, SeqCst);
    gate.open();
    ledger.settled(40).await;
    assert_eq!(entered.get(), FIRST, "nothing else has started");
    assert_eq!(
        (ledger.count(|end| *end == End::Ok), ledger.count(|end| *end == End::Abandoned)),
        (1, 39)
    );
    // The pool counts a message after its settlement. A stop before the count would report open
    // messages.
    until("the pool has counted them", || pool.stats().open == 0).await;
    assert_eq!((pool.stats().ok, pool.stats().abandoned), (1, 39), "{:?}", pool.stats());
    stop_well(&*pool).await;
}
