//! Failing keys have a bound of their own, and do not take room from healthy ones.

use super::{
    PoolFixture, PoolOptions,
    kit::{again, done, gated, job, scripted, stop_well, submit_all, try_one},
};
use crate::{
    deadline::{LIMIT, until},
    ledger::{End, Ledger},
    signal::Gate,
};
use buslane_core::{Kind, Message, SubmitError, erase};
use buslane_lanes::Bounds;
use std::{sync::Arc, time::Duration};

/// Messages behind a failing key do not take the room of the others.
pub async fn p3_parked_work_is_charged_apart(fixture: &dyn PoolFixture) {
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
                // The second attempt waits, so that the test decides when the key recovers.
                healed.wait().await;
                done()
            }
        })
    };
    let bounds = Bounds { messages: 10, lane_messages: 6, parked_messages: 6, ..Bounds::default() };
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
    assert_eq!(pool.stats().parked, 6);
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

/// At the bound of parked messages, only failing keys are refused.
pub async fn p3_parked_bound_refuses_failing_keys_alone(fixture: &dyn PoolFixture) {
    let failing = scripted(Kind::Envelope, async |_| again(Duration::from_hours(1), true, None));
    let healthy = erase(Kind::Regular, async |_: Message| ());
    let bounds = Bounds { messages: 10, parked_messages: 5, ..Bounds::default() };
    let pool = fixture.pool(PoolOptions {
        bounds,
        default_handler: Some(healthy),
        ..PoolOptions::default()
    });
    let ledger = Ledger::new();
    let failing_job = |sequence| job(&ledger, 1_000, sequence).with_handler(Arc::clone(&failing));
    assert_eq!(try_one(&*pool, failing_job(1)), Ok(()));
    until("the key waits for its retry", || pool.stats().parked_lanes == 1).await;
    for sequence in 2..=5 {
        assert_eq!(try_one(&*pool, failing_job(sequence)), Ok(()));
    }
    assert_eq!(try_one(&*pool, failing_job(6)), Err(SubmitError::ParkedFull { messages: 5 }));
    submit_all(&*pool, (0..100).map(|n| job(&ledger, n % 13, n))).await;
    until("the healthy keys are done", || pool.stats().ok == 100).await;
    let report = pool.stop(LIMIT).await;
    assert_eq!((report.abandoned, report.stragglers), (5, 0), "{report:?}");
}
