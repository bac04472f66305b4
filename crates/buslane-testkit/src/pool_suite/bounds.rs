//! Open jobs never exceed the bounds, and the bounds drop no job.

use super::{
    PoolFixture, PoolOptions,
    kit::{gated, is_waiting, job, job_of_bytes, stop_well, submit_all, try_one},
};
use crate::{
    deadline::{LIMIT, timed, until, within},
    ledger::{End, Ledger},
    signal::{Barrier, Count, Gate},
};
use buslane_core::{Job, Kind, Message, Pool, SubmitError, erase};
use buslane_lanes::Bounds;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// A pool with these bounds, the gate that its handlers wait for, and the ledger of its jobs.
fn gated_pool(
    fixture: &dyn PoolFixture,
    bounds: Bounds,
) -> (Arc<dyn Pool>, Arc<Gate>, Arc<Ledger>) {
    let gate = Arc::new(Gate::default());
    let options =
        PoolOptions { bounds, default_handler: Some(gated(&gate)), ..PoolOptions::default() };
    (fixture.pool(options), gate, Ledger::new())
}

/// A pool holds exactly as many messages as its workers and their queues.
pub async fn p1_pool_holds_exactly_workers_times_size(fixture: &dyn PoolFixture) {
    // SPEC: P1, P2
    let bounds = Bounds { messages: 4 * 5, ..Bounds::default() };
    let (pool, gate, ledger) = gated_pool(fixture, bounds);
    assert_eq!((pool.stats().capacity, pool.stats().workers), (20, 4));
    for key in 0..20 {
        assert_eq!(try_one(&*pool, job(&ledger, key, 1)), Ok(()), "key {key}");
    }
    let refused = try_one(&*pool, job(&ledger, 20, 1));
    assert!(matches!(refused, Err(SubmitError::PoolFull { messages: 20, .. })), "{refused:?}");
    gate.open();
    stop_well(&*pool).await;
    assert_eq!(ledger.count(|end| *end == End::Ok), 20);
}

/// A full lane does not affect the others.
pub async fn p3_full_lane_refuses_its_own_key_alone(fixture: &dyn PoolFixture) {
    let (pool, gate, ledger) =
        gated_pool(fixture, Bounds { lane_messages: 3, ..Bounds::default() });
    for sequence in 1..=3 {
        assert_eq!(try_one(&*pool, job(&ledger, 7, sequence)), Ok(()));
    }
    assert_eq!(try_one(&*pool, job(&ledger, 7, 4)), Err(SubmitError::LaneFull { limit: 3 }));
    assert_eq!(try_one(&*pool, job(&ledger, 8, 1)), Ok(()));
    gate.open();
    stop_well(&*pool).await;
}

/// Jobs for ten times the capacity pass through, and every one ends.
pub async fn p3_full_pool_makes_the_submitter_wait_and_drops_nothing(fixture: &dyn PoolFixture) {
    let (pool, gate, ledger) = gated_pool(fixture, Bounds { messages: 10, ..Bounds::default() });
    let mut batch: VecDeque<Job> = (0..100).map(|n| job(&ledger, n % 7, n)).collect();
    let mut waiting = pool.submit(&mut batch);
    is_waiting(&mut waiting).await;
    assert_eq!(pool.stats().open, 10);
    gate.open();
    within(LIMIT, "there is room for all", waiting).await.expect("nothing but room was missing");
    assert!(batch.is_empty());
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 100]);
}

/// Jobs that are not admitted in time return to the caller unchanged.
pub async fn p3_wait_timeout_is_a_typed_error_and_keeps_the_batch(fixture: &dyn PoolFixture) {
    let gate = Arc::new(Gate::default());
    let wait_timeout = Duration::from_millis(20);
    let pool = fixture.pool(PoolOptions {
        bounds: Bounds { messages: 2, ..Bounds::default() },
        default_handler: Some(gated(&gate)),
        wait_timeout,
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    let mut batch: VecDeque<Job> = (0..5).map(|n| job(&ledger, n, n)).collect();
    let (refused, waited) = timed(pool.submit(&mut batch)).await;
    assert!(matches!(refused, Err(SubmitError::PoolFull { messages: 2, .. })), "{refused:?}");
    assert!(refused.is_err_and(|error| error.is_temporary()));
    assert!(waited >= wait_timeout, "{waited:?}");
    assert_eq!(batch.iter().map(|job| job.message.offset).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(ledger.ends(), []);
    gate.open();
    submit_all(&*pool, batch).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 5]);
}

/// The byte budget applies independently of the number of messages.
pub async fn p3_byte_budget_counts_until_completion(fixture: &dyn PoolFixture) {
    let (pool, gate, ledger) = gated_pool(fixture, Bounds { bytes: 1_000, ..Bounds::default() });
    assert_eq!(try_one(&*pool, job_of_bytes(&ledger, 0, 1, 400)), Ok(()));
    assert_eq!(try_one(&*pool, job_of_bytes(&ledger, 1, 1, 600)), Ok(()));
    let refused = try_one(&*pool, job_of_bytes(&ledger, 2, 1, 8));
    assert_eq!(refused, Err(SubmitError::PoolFull { messages: 2, bytes: 1_000 }));
    gate.open();
    until("both have ended", || pool.stats().open == 0).await;
    assert_eq!(pool.stats().open_bytes, 0);
    assert_eq!(try_one(&*pool, job_of_bytes(&ledger, 2, 1, 1_000)), Ok(()));
    stop_well(&*pool).await;
}

/// A message larger than the budget runs when no other is open.
pub async fn p3_oversized_message_is_admitted_alone(fixture: &dyn PoolFixture) {
    let (pool, gate, ledger) = gated_pool(fixture, Bounds { bytes: 1_000, ..Bounds::default() });
    assert_eq!(try_one(&*pool, job_of_bytes(&ledger, 0, 1, 8)), Ok(()));
    let mut large = VecDeque::from([job_of_bytes(&ledger, 1, 1, 5_000)]);
    let mut waiting = pool.submit(&mut large);
    is_waiting(&mut waiting).await;
    gate.open();
    within(LIMIT, "the large one is admitted", waiting).await.expect("it was only too early");
    until("both have ended", || pool.stats().open == 0).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), [End::Ok, End::Ok]);
}

/// A waiting submitter does not delay another one whose lane has capacity.
pub async fn p3_others_are_admitted_while_one_submitter_waits(fixture: &dyn PoolFixture) {
    let (pool, gate, ledger) =
        gated_pool(fixture, Bounds { lane_messages: 1, ..Bounds::default() });
    assert_eq!(try_one(&*pool, job(&ledger, 1, 1)), Ok(()));
    let mut second = VecDeque::from([job(&ledger, 1, 2)]);
    let mut waiting = pool.submit(&mut second);
    is_waiting(&mut waiting).await;
    for key in 2..100 {
        assert_eq!(try_one(&*pool, job(&ledger, key, 1)), Ok(()), "key {key}");
    }
    is_waiting(&mut waiting).await;
    gate.open();
    within(LIMIT, "the lane has room", waiting).await.expect("it was only too early");
    stop_well(&*pool).await;
}

/// A cancelled submit leaves the unaccepted jobs in the batch, and does not delay other submitters.
pub async fn p3_cancelled_submit_keeps_the_batch_and_leaves_no_trace(fixture: &dyn PoolFixture) {
    let (pool, gate, ledger) = gated_pool(fixture, Bounds { messages: 3, ..Bounds::default() });
    let mut batch: VecDeque<Job> = (0..8).map(|n| job(&ledger, n, n)).collect();
    for _ in 0..3 {
        let mut waiting = pool.submit(&mut batch);
        is_waiting(&mut waiting).await;
        drop(waiting);
        assert_eq!(batch.iter().map(|job| job.message.offset).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
    }
    gate.open();
    submit_all(&*pool, batch).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 8]);
}

/// Freed capacity wakes every waiting submitter.
pub async fn p3_room_wakes_every_submitter(fixture: &dyn PoolFixture) {
    let (pool, gate, ledger) = gated_pool(fixture, Bounds { messages: 2, ..Bounds::default() });
    submit_all(&*pool, (0..2).map(|n| job(&ledger, n, 1))).await;
    let started = Arc::new(Count::default());
    let submitters: Vec<_> = (2..34)
        .map(|key| {
            let (pool, started) = (Arc::clone(&pool), Arc::clone(&started));
            let mut batch: VecDeque<Job> = (1..=10).map(|n| job(&ledger, key, n)).collect();
            tokio::spawn(async move {
                let mut waiting = pool.submit(&mut batch);
                is_waiting(&mut waiting).await;
                started.add();
                waiting.await
            })
        })
        .collect();
    within(LIMIT, "all submitters wait", started.reached(32)).await;
    gate.open();
    for submitter in submitters {
        within(LIMIT, "a submitter gets room", submitter).await.expect("no panic").expect("room");
    }
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 322]);
}

/// A message that ends frees its capacity at once, even while the next message of its worker blocks
/// one or all threads.
pub async fn p3_room_is_seen_while_a_handler_computes(fixture: &dyn PoolFixture) {
    for keys in [1, 2] {
        let (barrier, entered) = (Arc::new(Barrier::default()), Arc::new(Count::default()));
        let handler = {
            let (barrier, entered) = (Arc::clone(&barrier), Arc::clone(&entered));
            erase(Kind::Regular, move |message: Message| {
                let (barrier, entered) = (Arc::clone(&barrier), Arc::clone(&entered));
                async move {
                    if message.offset == 3 {
                        entered.add();
                        assert!(barrier.block(), "the test goes on");
                    }
                }
            })
        };
        let bounds = Bounds { lane_messages: 4, ..Bounds::default() };
        let pool = fixture.pool(PoolOptions {
            bounds,
            default_handler: Some(handler),
            ..PoolOptions::default()
        });
        let ledger = Ledger::new();
        for key in 0..keys {
            submit_all(&*pool, (1..=4).map(|n| job(&ledger, key, n))).await;
        }
        until("every key blocks", || entered.get() as u64 == keys).await;
        for key in 0..keys {
            for sequence in [5, 6] {
                assert_eq!(
                    try_one(&*pool, job(&ledger, key, sequence)),
                    Ok(()),
                    "two of key {key} have ended"
                );
            }
            assert_eq!(
                try_one(&*pool, job(&ledger, key, 7)),
                Err(SubmitError::LaneFull { limit: 4 })
            );
        }
        barrier.open();
        stop_well(&*pool).await;
    }
}

/// At every reading, the number of open jobs is within the bounds.
pub async fn p3_open_work_never_exceeds_the_bounds(fixture: &dyn PoolFixture) {
    let handler = erase(Kind::Regular, async |message: Message| {
        if message.offset.is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
    });
    let bounds = Bounds { messages: 50, bytes: 40 * 50, lane_messages: 5, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions {
        bounds,
        default_handler: Some(handler),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    let submitters: Vec<_> = (0..4)
        .map(|submitter| {
            let (pool, ledger) = (Arc::clone(&pool), Arc::clone(&ledger));
            tokio::spawn(async move {
                for n in 0..50 {
                    let jobs: Vec<Job> = (0..20)
                        .map(|at| job_of_bytes(&ledger, submitter * 10 + at % 10, n * 20 + at, 64))
                        .collect();
                    submit_all(&*pool, jobs).await;
                }
            })
        })
        .collect();
    while !submitters.iter().all(tokio::task::JoinHandle::is_finished) {
        let stats = pool.stats();
        assert!(stats.open <= 50 && stats.open_bytes <= 40 * 50, "{stats:?}");
        tokio::task::yield_now().await;
    }
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), vec![End::Ok; 4_000]);
}
