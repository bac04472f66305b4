//! Purging drops queued jobs and keeps running ones.

use super::{
    PoolFixture, PoolOptions,
    kit::{again, done, job, message, scripted, stop_well, submit_all, try_one},
};
use crate::{
    deadline::{LIMIT, until, within},
    ledger::{End, Ledger},
    recorder::key_and_sequence,
    signal::{Barrier, Count, Gate},
};
use buslane_core::{Job, Kind, Message, Source, SubmitError, erase};
use buslane_lanes::Bounds;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

/// The first message of each key runs and succeeds; those of the even keys behind it are dropped.
/// Messages that a worker has already taken are dropped too.
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

/// Messages that wait for a retry are purged too. Purged messages make room at once.
pub async fn p5_purge_reaches_retries_and_makes_room(fixture: &dyn PoolFixture) {
    let handler = scripted(Kind::Envelope, async |attempt| {
        let (key, _) = key_and_sequence(&attempt.message);
        if key == 0 { again(Duration::from_hours(1), true, None) } else { done() }
    });
    let bounds = Bounds { messages: 4, lane_messages: 3, parked_messages: 4, ..Bounds::default() };
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
        (stats.open, stats.parked, stats.lanes, stats.blocked_lanes),
        (0, 0, 0, 0),
        "{stats:?}"
    );
    submit_all(&*pool, (1..20).map(|key| job(&ledger, key, 1))).await;
    stop_well(&*pool).await;
    assert_eq!(ledger.count(|end| *end == End::Ok), 19);
}

/// Another member may have taken the partition over: running messages end as they do, and queued or
/// retrying ones are abandoned.
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
            // Each key's first message is tried again, but for the last key's.
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
    // A message is settled before it is counted, so a stop would report messages that it finds
    // open.
    until("the pool has counted them", || pool.stats().open == 0).await;
    assert_eq!((pool.stats().ok, pool.stats().abandoned), (1, 39), "{:?}", pool.stats());
    stop_well(&*pool).await;
}
