//! The choice and the input of handlers, and that every job ends exactly once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use buslane_core::{Job, Kind, Message, SubmitError, erase};

use super::kit::{job, lane, message, stop_well, submit_all};
use super::{PoolFixture, PoolOptions};
use crate::deadline::{LIMIT, within};
use crate::leak;
use crate::ledger::{End, Ledger};
use crate::recorder::key_and_sequence;
use crate::signal::Count;

/// A job runs its own handler; the pool's handler runs jobs without one.
pub async fn p4_own_handler_goes_before_the_default(fixture: &dyn PoolFixture) {
    let (own, default) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let counting = |count: &Arc<Count>| {
        let count = Arc::clone(count);
        erase(Kind::Regular, move |_: Message| {
            count.add();
            async {}
        })
    };
    let pool = fixture
        .pool(PoolOptions { default_handler: Some(counting(&default)), ..PoolOptions::default() });
    let ledger = Ledger::new();
    let handler = counting(&own);
    let jobs = (0..30).map(|n| {
        let job = job(&ledger, n % 4, n);
        if n % 3 == 0 { job.with_handler(Arc::clone(&handler)) } else { job }
    });
    submit_all(&*pool, jobs).await;
    stop_well(&*pool).await;
    assert_eq!((own.get(), default.get()), (10, 20));
}

/// A job without any handler is refused and stays with the caller, and earlier jobs are accepted.
pub async fn p4_no_handler_is_refused_in_fixed_words(fixture: &dyn PoolFixture) {
    let pool = fixture.pool(PoolOptions::default());
    let ledger = Ledger::new();
    let handler = erase(Kind::Regular, async |_: Message| ());
    let mut batch: VecDeque<Job> = (0..5).map(|n| job(&ledger, n, n)).collect();
    for at in [0, 1, 3, 4] {
        batch[at].handler = Some(Arc::clone(&handler));
    }
    let refused = pool.submit(&mut batch).await.expect_err("the third has no handler");
    assert_eq!(
        (refused, refused.to_string().as_str()),
        (SubmitError::NoHandler, "no handler available for message")
    );
    assert!(!refused.is_temporary());
    assert_eq!(batch.iter().map(|job| job.message.offset).collect::<Vec<_>>(), [2, 3, 4]);
    ledger.settled(2).await;
    batch.pop_front();
    assert_eq!(pool.submit(&mut batch).await, Ok(()));
    stop_well(&*pool).await;
    assert_eq!(ledger.by_token(), [End::Ok, End::Ok, End::Abandoned, End::Ok, End::Ok]);
}

/// Every job ends once, however its handler ends, and the statistics count each kind of end.
pub async fn p5_every_job_settles_exactly_once(fixture: &dyn PoolFixture) {
    let script = |kind| {
        erase(kind, async |message: Message| {
            if message.offset.is_multiple_of(2) {
                tokio::task::yield_now().await;
            }
            match message.offset % 10 {
                3 => Err("a failure"),
                7 => panic!("a panic"),
                _ => Ok(()),
            }
        })
    };
    let handlers = [script(Kind::Regular), script(Kind::Envelope)];
    let pool = fixture.pool(PoolOptions { workers: 16, ..PoolOptions::default() });
    let ledger = Ledger::new();
    let jobs = (0..2_000).map(|n| {
        job(&ledger, n % 97, n).with_handler(Arc::clone(&handlers[usize::from(n % 4 == 3)]))
    });
    submit_all(&*pool, jobs).await;
    stop_well(&*pool).await;
    let expected: Vec<End> = (0..2_000)
        .map(|n| match n % 10 {
            3 => End::Failed("a failure".into()),
            7 => End::Panicked("a panic".into()),
            _ => End::Ok,
        })
        .collect();
    assert_eq!(ledger.by_token(), expected);
    let stats = pool.stats();
    assert_eq!(
        (stats.accepted, stats.ok, stats.failed, stats.panicked),
        (2_000, 1_600, 200, 200),
        "{stats:?}"
    );
    assert_eq!((stats.panics, stats.abandoned), (200, 0), "{stats:?}");
}

/// A dropped pool abandons its jobs, and runs none that waited behind a cancelled one.
pub async fn p5_dropping_the_pool_abandons_what_is_open(fixture: &dyn PoolFixture) {
    let started = Arc::new(Count::default());
    let handler = {
        let started = Arc::clone(&started);
        erase(Kind::Regular, move |_: Message| {
            started.add();
            std::future::pending::<()>()
        })
    };
    for _ in 0..20 {
        let before = started.get();
        // Some workers are idle. They must not take over the lanes of the cancelled workers.
        let options = PoolOptions {
            workers: 64,
            default_handler: Some(Arc::clone(&handler)),
            ..PoolOptions::default()
        };
        let pool = fixture.pool(options);
        let ledger = Ledger::new();
        submit_all(&*pool, (0..40).map(|n| job(&ledger, n % 10, n))).await;
        within(LIMIT, "every key is busy", started.reached(before + 10)).await;
        drop(pool);
        ledger.settled(40).await;
        assert_eq!(ledger.by_token(), vec![End::Abandoned; 40]);
        leak::no_more_tasks_than(0).await;
        assert_eq!(started.get() - before, 10, "nothing runs behind what was cut off");
    }
}

/// A failure affects no other job.
pub async fn p6_error_is_reported_and_is_no_panic(fixture: &dyn PoolFixture) {
    for kind in [Kind::Regular, Kind::Envelope] {
        let handler = erase(kind, async |message: Message| match message.offset {
            5 => Ok(()),
            n => Err(format!("failure {n}")),
        });
        let pool = fixture.pool(PoolOptions {
            workers: 1,
            default_handler: Some(handler),
            ..PoolOptions::default()
        });
        let ledger = Ledger::new();
        submit_all(&*pool, (0..6).map(|n| job(&ledger, 1, n))).await;
        stop_well(&*pool).await;
        let mut expected: Vec<End> = (0..5).map(|n| End::Failed(format!("failure {n}"))).collect();
        expected.push(End::Ok);
        assert_eq!(ledger.by_token(), expected);
        let stats = pool.stats();
        assert_eq!((stats.failed, stats.panics, stats.restarts), (5, 0, 0), "{stats:?}");
    }
}

/// A handler gets the submitted message as attempt 1, with the kind of its subscription.
pub async fn p11_handler_sees_the_same_message(fixture: &dyn PoolFixture) {
    let seen: Arc<Mutex<Vec<(Message, bool)>>> = Arc::default();
    let log = Arc::clone(&seen);
    let handler = erase(Kind::Envelope, move |message: Message| {
        let task = tokio::task::try_id().is_some();
        log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((message, task));
        async {}
    });
    let pool =
        fixture.pool(PoolOptions { default_handler: Some(handler), ..PoolOptions::default() });
    let ledger = Ledger::new();
    submit_all(&*pool, (0..10).map(|n| job(&ledger, 3, n))).await;
    stop_well(&*pool).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    assert_eq!(seen.len(), 10);
    for ((message_seen, task), n) in seen.into_iter().zip(0..) {
        let sent = message(3, n);
        assert_eq!((message_seen.attempt, message_seen.kind), (1, Kind::Envelope));
        assert_eq!((message_seen.offset, &message_seen.payload), (n, &sent.payload));
        assert_eq!(
            (message_seen.source.to_string(), message_seen.headers.is_empty()),
            (sent.source.to_string(), true)
        );
        assert!(task, "a handler may use what needs a task");
    }
}

/// With one worker and one script, every pool produces the same record.
pub async fn p11_same_script_gives_the_same_record(fixture: &dyn PoolFixture) {
    let record: Arc<Mutex<Vec<String>>> = Arc::default();
    let write = |line: String| {
        let record = Arc::clone(&record);
        record.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
    };
    let script = |kind: Kind| {
        let record = Arc::clone(&record);
        erase(kind, move |message: Message| {
            let record = Arc::clone(&record);
            async move {
                let (key, sequence) = key_and_sequence(&message);
                let line = format!("{kind} {key}.{sequence} #{}", message.attempt);
                record.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
                if sequence % 2 == 0 {
                    tokio::task::yield_now().await;
                }
                match sequence {
                    3 => Err(format!("failure {key}")),
                    4 => panic!("panic {key}"),
                    _ => Ok(()),
                }
            }
        })
    };
    let handlers = [script(Kind::Envelope), script(Kind::Regular)];
    let pool = fixture.pool(PoolOptions { workers: 1, ..PoolOptions::default() });
    for (key, handler) in handlers.iter().enumerate() {
        let ledger = Ledger::new();
        let jobs = (1..=5).map(|n| job(&ledger, key as u64, n).with_handler(Arc::clone(handler)));
        submit_all(&*pool, jobs).await;
        ledger.settled(5).await;
        ledger.by_token().iter().for_each(|end| write(format!("{end:?}")));
    }
    stop_well(&*pool).await;
    let expected: Vec<String> = [("envelope", 0), ("regular", 1)]
        .iter()
        .flat_map(|(kind, key)| {
            let handled = (1..=5).map(move |n| format!("{kind} {key}.{n} #1"));
            let ends = ["Ok".into(), "Ok".into(), format!("Failed(\"failure {key}\")")];
            handled.chain(ends).chain([format!("Panicked(\"panic {key}\")"), "Ok".into()])
        })
        .collect();
    assert_eq!(*record.lock().unwrap_or_else(std::sync::PoisonError::into_inner), expected);
}

/// Fifty pools, concurrent and consecutive, used and unused, stopped and dropped.
pub async fn t3_pools_leave_no_task_behind(fixture: &dyn PoolFixture) {
    let before = leak::tasks();
    let handler = erase(Kind::Regular, async |_: Message| tokio::task::yield_now().await);
    for round in 0..25 {
        let options =
            PoolOptions { default_handler: Some(Arc::clone(&handler)), ..PoolOptions::default() };
        let pools = [fixture.pool(options.clone()), fixture.pool(options)];
        let ledger = Ledger::new();
        for pool in &pools[..round % 3] {
            let jobs =
                (0..50).map(|n| Job::new(lane(n % 5), message(n % 5, n), ledger.settlement()));
            submit_all(&**pool, jobs).await;
        }
        for pool in &pools[..round % 2 + 1] {
            stop_well(&**pool).await;
        }
        drop(pools);
        leak::no_more_tasks_than(before).await;
    }
}
