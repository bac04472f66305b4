//! Order and conservation under load.

use std::sync::Arc;
use std::time::Duration;

use buslane_core::{ErasedHandler, Kind, Message, erase};
use buslane_lanes::{Bounds, Mode};

use super::kit::{again, done, job, requeue, scripted, stop_well, submit_all};
use super::{PoolFixture, PoolOptions};
use crate::deadline::{LIMIT, within};
use crate::ledger::{End, Ledger};
use crate::recorder::{Recorder, key_and_sequence};
use crate::signal::{Barrier, Count, Gate};

/// A handler that returns at once, yields, sleeps, computes, fails or panics, by sequence and key.
fn mixed(kind: Kind, recorder: &Arc<Recorder>) -> Arc<dyn ErasedHandler> {
    let recorder = Arc::clone(recorder);
    erase(kind, move |message: Message| {
        let recorder = Arc::clone(&recorder);
        async move {
            let _visit = recorder.visit(&message);
            let (key, sequence) = key_and_sequence(&message);
            match (key * 31 + sequence * 7) % 101 {
                0..30 => tokio::task::yield_now().await,
                30 | 31 => tokio::time::sleep(Duration::from_millis(1)).await,
                32 => std::thread::sleep(Duration::from_micros(200)),
                33 => return Err("a failure"),
                34 if sequence % 3 == 0 => panic!("a panic"),
                _ => {}
            }
            Ok(())
        }
    })
}

async fn mixed_load(fixture: &dyn PoolFixture, options: PoolOptions) {
    const KEYS: u64 = 1_000;
    const EACH: u64 = 30;
    let recorder = Arc::new(Recorder::new(1_000));
    let handlers = [mixed(Kind::Regular, &recorder), mixed(Kind::Envelope, &recorder)];
    let pool = fixture.pool(options);
    let ledger = Ledger::new();
    let submitters: Vec<_> = (0..4)
        .map(|submitter| {
            let (pool, ledger, handlers) =
                (Arc::clone(&pool), Arc::clone(&ledger), handlers.clone());
            tokio::spawn(async move {
                // Submitters share no key, and each sends its jobs in batches of many sizes.
                let mut jobs = (1..=EACH).flat_map(|sequence| {
                    let (ledger, handlers) = (&ledger, &handlers);
                    (submitter..KEYS).step_by(4).map(move |key| {
                        job(ledger, key, sequence)
                            .with_handler(Arc::clone(&handlers[usize::from(key % 10 != 0)]))
                    })
                });
                for size in (1..200).cycle() {
                    let batch: Vec<_> = jobs.by_ref().take(size).collect();
                    if batch.is_empty() {
                        return;
                    }
                    submit_all(&*pool, batch).await;
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.await.expect("no panic");
    }
    stop_well(&*pool).await;
    assert_eq!((recorder.handled(), recorder.violations()), (KEYS * EACH, 0));
    assert_eq!(ledger.by_token().len() as u64, KEYS * EACH);
    let stats = pool.stats();
    if fixture.is_one_pool() {
        assert_eq!(stats.restarts == 0, !fixture.is_supervised(), "{stats:?}");
    }
}

/// A thousand keys, each in a separate lane.
pub async fn p11_order_holds_under_mixed_load(fixture: &dyn PoolFixture) {
    mixed_load(fixture, PoolOptions { workers: 256, ..PoolOptions::default() }).await;
}

/// A thousand keys in 64 slots.
pub async fn p11_order_holds_under_mixed_load_in_fixed_slots(fixture: &dyn PoolFixture) {
    mixed_load(
        fixture,
        PoolOptions { workers: 64, mode: Mode::Fixed(64), ..PoolOptions::default() },
    )
    .await;
}

/// A thousand keys, and a nearly full pool.
pub async fn p11_order_holds_under_mixed_load_in_a_small_pool(fixture: &dyn PoolFixture) {
    let bounds = Bounds { messages: 100, lane_messages: 3, ..Bounds::default() };
    mixed_load(fixture, PoolOptions { workers: 8, bounds, ..PoolOptions::default() }).await;
}

/// A single key without any delay.
pub async fn p11_order_holds_for_one_hot_key(fixture: &dyn PoolFixture) {
    let recorder = Arc::new(Recorder::new(1));
    let log = Arc::clone(&recorder);
    let handler = erase(Kind::Envelope, move |message: Message| {
        drop(log.visit(&message));
        async {}
    });
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let ledger = Ledger::new();
    for start in (1..=50_000).step_by(500) {
        submit_all(&*pool, (start..start + 500).map(|n| job(&ledger, 0, n))).await;
    }
    stop_well(&*pool).await;
    assert_eq!((recorder.handled(), recorder.violations()), (50_000, 0));
    assert_eq!(
        ledger.ends().iter().map(|(token, _)| *token).collect::<Vec<_>>(),
        (0..50_000).collect::<Vec<_>>()
    );
}

/// At every reading of the statistics, each accepted job has ended or is open.
pub async fn p5_conservation_holds_at_every_probe(fixture: &dyn PoolFixture) {
    let recorder = Arc::new(Recorder::new(100));
    let handlers = [mixed(Kind::Regular, &recorder), mixed(Kind::Envelope, &recorder)];
    let bounds = Bounds { messages: 500, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions { workers: 16, bounds, ..PoolOptions::default() });
    let ledger = Ledger::new();
    let load = {
        let (pool, ledger) = (Arc::clone(&pool), Arc::clone(&ledger));
        tokio::spawn(async move {
            for n in 0..200 {
                let handler = &handlers[usize::from(n % 2 == 0)];
                let jobs =
                    (0..100).map(|key| job(&ledger, key, n + 1).with_handler(Arc::clone(handler)));
                submit_all(&*pool, jobs).await;
            }
        })
    };
    let mut probes = 0;
    let mut last = pool.stats();
    while !load.is_finished() || last.open > 0 {
        let stats = pool.stats();
        let ended = stats.ok + stats.failed + stats.panicked + stats.abandoned;
        assert_eq!(stats.accepted, ended + stats.open as u64, "{stats:?}");
        assert!(
            stats.accepted >= last.accepted && stats.ok >= last.ok && stats.open <= 500,
            "{last:?} {stats:?}"
        );
        last = stats;
        probes += 1;
        tokio::task::yield_now().await;
    }
    load.await.expect("no panic");
    stop_well(&*pool).await;
    assert!(probes > 10, "{probes} probes");
    let stats = pool.stats();
    assert_eq!((stats.accepted, stats.open), (20_000, 0));
    assert_eq!(stats.ok, ledger.count(|end| *end == End::Ok) as u64);
}

/// The key whose handler waits or blocks.
const SLOW: u64 = 1_000;

/// One key waits until all others are done.
pub async fn p9_waiting_key_does_not_delay_the_others(fixture: &dyn PoolFixture) {
    let others_done = Arc::new(Count::default());
    let handler = {
        let others_done = Arc::clone(&others_done);
        erase(Kind::Regular, move |message: Message| {
            let others_done = Arc::clone(&others_done);
            async move {
                if key_and_sequence(&message).0 == SLOW {
                    others_done.reached(1_000).await;
                } else {
                    if message.offset.is_multiple_of(3) {
                        tokio::task::yield_now().await;
                    }
                    others_done.add();
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
    let slow = (0..5).map(|n| job(&ledger, SLOW, n)).collect::<Vec<_>>();
    submit_all(&*pool, slow.into_iter().chain((0..1_000).map(|n| job(&ledger, n % 100, n)))).await;
    within(LIMIT, "the other keys are done", others_done.reached(1_000)).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 1_005]);
}

/// One key blocks its thread until all others are done on the other thread.
pub async fn p9_blocking_key_does_not_delay_the_others(fixture: &dyn PoolFixture) {
    for workers in [2, 8, 256] {
        for slow_at in [0, 1, 50, 100] {
            let (others_done, barrier) = (Arc::new(Count::default()), Arc::new(Barrier::default()));
            let handler = blocking_until_done(&others_done, &barrier, 100, |_| false);
            let options =
                PoolOptions { workers, default_handler: Some(handler), ..PoolOptions::default() };
            let pool = fixture.pool(options);
            let ledger = Ledger::new();
            let mut jobs: Vec<_> = (0..100).map(|key| job(&ledger, key, 1)).collect();
            jobs.insert(slow_at, job(&ledger, SLOW, 1));
            submit_all(&*pool, jobs).await;
            stop_well(&*pool).await;
            assert_eq!(ledger.by_token(), vec![End::Ok; 101]);
        }
    }
}

/// The other keys also wait for each other, so that each needs a worker at the same time.
pub async fn p9_blocking_key_does_not_delay_waiting_ones(fixture: &dyn PoolFixture) {
    for slow_at in [0, 1, 2, 3, 10, 50, 99, 100] {
        let (others_done, barrier) = (Arc::new(Count::default()), Arc::new(Barrier::default()));
        let handler = blocking_until_done(&others_done, &barrier, 100, |_| true);
        let options =
            PoolOptions { workers: 128, default_handler: Some(handler), ..PoolOptions::default() };
        let pool = fixture.pool(options);
        let ledger = Ledger::new();
        let mut jobs: Vec<_> = (0..100).map(|key| job(&ledger, key, 1)).collect();
        jobs.insert(slow_at, job(&ledger, SLOW, 1));
        submit_all(&*pool, jobs).await;
        stop_well(&*pool).await;
        assert_eq!(ledger.by_token(), vec![End::Ok; 101]);
    }
}

/// A handler that blocks its thread for the slow key until `count` other messages are done. Keys
/// for which `meet` holds wait until all of them have started.
fn blocking_until_done(
    others_done: &Arc<Count>,
    barrier: &Arc<Barrier>,
    count: usize,
    meet: fn(u64) -> bool,
) -> Arc<dyn ErasedHandler> {
    let (others_done, barrier, begun) =
        (Arc::clone(others_done), Arc::clone(barrier), Arc::new(Count::default()));
    erase(Kind::Regular, move |message: Message| {
        let (others_done, barrier, begun) =
            (Arc::clone(&others_done), Arc::clone(&barrier), Arc::clone(&begun));
        async move {
            let (key, _) = key_and_sequence(&message);
            if key == SLOW {
                assert!(barrier.block(), "the other keys are done");
                return;
            }
            if meet(key) {
                begun.add();
                // The last key waits too. A task that it woke may be queued behind this one, and
                // would not run while this thread is blocked.
                requeue().await;
                begun.reached(count).await;
            }
            if others_done.add() == count {
                barrier.open();
            }
        }
    })
}

/// A key whose message has ended runs new messages while its former worker blocks its thread with
/// another key.
pub async fn p9_blocked_thread_does_not_hold_finished_keys(fixture: &dyn PoolFixture) {
    for round in 0..30 {
        let (entered, first, all) =
            (Arc::new(Barrier::default()), Count::default(), Count::default());
        let (leave, counts) = (Arc::new(Barrier::default()), Arc::new((first, all)));
        let handler = {
            let (leave, counts, entered) =
                (Arc::clone(&leave), Arc::clone(&counts), Arc::clone(&entered));
            erase(Kind::Regular, move |message: Message| {
                let (leave, counts, entered) =
                    (Arc::clone(&leave), Arc::clone(&counts), Arc::clone(&entered));
                async move {
                    let (key, sequence) = key_and_sequence(&message);
                    if key == SLOW {
                        entered.open();
                        assert!(leave.block(), "the other keys go on");
                        return;
                    }
                    if sequence == 2 && key % 2 == 0 {
                        counts.1.reached(5).await;
                    }
                    if sequence == 1 {
                        counts.0.add()
                    } else {
                        counts.1.add()
                    };
                }
            })
        };
        let options =
            PoolOptions { workers: 16, default_handler: Some(handler), ..PoolOptions::default() };
        let pool = fixture.pool(options);
        let ledger = Ledger::new();
        let mut jobs: Vec<_> = (0..10).map(|key| job(&ledger, key, 1)).collect();
        jobs.insert(round % 11, job(&ledger, SLOW, 1));
        submit_all(&*pool, jobs).await;
        within(LIMIT, "the first messages are done", counts.0.reached(10)).await;
        assert!(entered.block(), "the slow key has begun");
        for key in 0..10 {
            submit_all(&*pool, [job(&ledger, key, 2)]).await;
        }
        within(LIMIT / 4, "the second messages are done", counts.1.reached(10)).await;
        leave.open();
        stop_well(&*pool).await;
        assert_eq!(ledger.by_token(), vec![End::Ok; 21]);
    }
}

/// Two handlers compute at the same time: each blocks its thread until the other has started.
pub async fn p9_handlers_that_compute_use_every_thread(fixture: &dyn PoolFixture) {
    const ROUNDS: u64 = 50;
    let gates: Arc<Vec<[Barrier; 2]>> = Arc::new((0..ROUNDS).map(|_| Default::default()).collect());
    let handler = erase(Kind::Regular, move |message: Message| {
        let gates = Arc::clone(&gates);
        async move {
            let (key, sequence) = key_and_sequence(&message);
            let Some(mine) = key.checked_sub(SLOW) else { return };
            let index = |n: u64| usize::try_from(n).expect("a few");
            let (mine, round) = (index(mine), index(sequence));
            gates[round][mine].open();
            assert!(gates[round][1 - mine].block(), "the other one has begun");
        }
    });
    let pool = fixture.pool(PoolOptions {
        workers: 8,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    for round in 0..ROUNDS {
        let rest = (0..round % 7).map(|key| job(&ledger, key, round)).collect::<Vec<_>>();
        let pair = [job(&ledger, SLOW, round), job(&ledger, SLOW + 1, round)];
        submit_all(&*pool, pair.into_iter().chain(rest)).await;
        if round % 2 == 0 {
            let settled = ledger.issued();
            ledger.settled(usize::try_from(settled).expect("a few")).await;
        }
    }
    stop_well(&*pool).await;
    assert_eq!(ledger.count(|end| *end != End::Ok), 0);
}

/// All workers but one run handlers that wait.
pub async fn p9_all_workers_but_one_may_be_slow(fixture: &dyn PoolFixture) {
    let (others_done, slow_begun) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let handler = {
        let (others_done, slow_begun) = (Arc::clone(&others_done), Arc::clone(&slow_begun));
        erase(Kind::Envelope, move |message: Message| {
            let (others_done, slow_begun) = (Arc::clone(&others_done), Arc::clone(&slow_begun));
            async move {
                if key_and_sequence(&message).0 >= SLOW {
                    slow_begun.add();
                    others_done.reached(500).await;
                } else {
                    tokio::task::yield_now().await;
                    others_done.add();
                }
            }
        })
    };
    let pool = fixture.pool(PoolOptions {
        workers: 8,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..7).map(|n| job(&ledger, SLOW + n, 1))).await;
    within(LIMIT, "the slow keys have begun", slow_begun.reached(7)).await;
    submit_all(&*pool, (0..500).map(|n| job(&ledger, n % 50, n))).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 507]);
}

/// In fixed slots, keys of one slot wait for each other, and keys of other slots do not wait.
pub async fn p9_keys_of_one_slot_both_make_progress(fixture: &dyn PoolFixture) {
    for slots in [1, 2, 4] {
        let recorder = Arc::new(Recorder::new(20));
        let log = Arc::clone(&recorder);
        let handler = erase(Kind::Regular, move |message: Message| {
            let log = Arc::clone(&log);
            async move {
                let _visit = log.visit(&message);
                if message.offset.is_multiple_of(2) {
                    tokio::task::yield_now().await;
                }
            }
        });
        let mode = Mode::Fixed(slots);
        let pool = fixture.pool(PoolOptions {
            mode,
            default_handler: Some(handler),
            ..PoolOptions::default()
        });
        let ledger = Ledger::new();
        submit_all(&*pool, (0..1_000).map(|n| job(&ledger, n % 20, n / 20 + 1))).await;
        stop_well(&*pool).await;
        assert_eq!((recorder.handled(), recorder.violations()), (1_000, 0));
        assert!((0..20).all(|key| recorder.highest(key) == 50));
    }
}

/// A key that waits for its retry occupies no worker, and a blocked thread does not delay the
/// retry.
pub async fn p9_retrying_key_does_not_delay_the_others(fixture: &dyn PoolFixture) {
    for round in 0..20 {
        let (retried, others_done) = (Arc::new(Barrier::default()), Arc::new(Gate::default()));
        let handler = {
            let (retried, others_done) = (Arc::clone(&retried), Arc::clone(&others_done));
            scripted(Kind::Regular, move |attempt| {
                let (retried, others_done) = (Arc::clone(&retried), Arc::clone(&others_done));
                async move {
                    let message = attempt.message;
                    match key_and_sequence(&message).0 {
                        0 if message.attempt < 3 => {
                            return again(Duration::from_micros(500), false, None);
                        }
                        0 => retried.open(),
                        SLOW => assert!(retried.block(), "the retry is not held up"),
                        _ => others_done.wait().await,
                    }
                    done()
                }
            })
        };
        let options =
            PoolOptions { workers: 8, default_handler: Some(handler), ..PoolOptions::default() };
        let pool = fixture.pool(options);
        let ledger = Ledger::new();
        let mut jobs: Vec<_> = (0..6).map(|key| job(&ledger, key, 1)).collect();
        jobs.insert(round % 7, job(&ledger, SLOW, 1));
        submit_all(&*pool, jobs).await;
        ledger.settled(2).await;
        others_done.open();
        stop_well(&*pool).await;
        assert_eq!(ledger.by_token(), vec![End::Ok; 7]);
    }
}
