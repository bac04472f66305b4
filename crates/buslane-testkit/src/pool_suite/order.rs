//! Order and conservation under load.

use super::{
    PoolFixture, PoolOptions,
    kit::{job, stop_well, submit_all},
};
use crate::{
    ledger::{End, Ledger},
    recorder::{Recorder, key_and_sequence},
};
use buslane_core::{ErasedHandler, Kind, Message, erase};
use buslane_lanes::{Bounds, Mode};
use std::{sync::Arc, time::Duration};

/// A handler that returns at once, yields, sleeps, computes, fails or panics, whatever the message.
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
                // Every submitter has keys of its own, and sends them in batches of many sizes.
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

/// A thousand keys, each with a lane.
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
