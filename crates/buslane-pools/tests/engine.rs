//! The engine and its workers on a real executor of two threads.
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane_core::{Job, Kind, Message, Outcome, Settle, Settlement, SubmitError, Topic, erase};
use buslane_pools::{Bounds, Engine, EngineConfig, Mode, OnPanic, Worker};
use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, task::JoinHandle};

fn two_threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn engine(workers: usize, mode: Mode, bounds: Bounds) -> Arc<Engine> {
    Engine::new(EngineConfig {
        workers,
        parallelism: 2,
        mode,
        bounds,
        default_handler: None,
        clock: Instant::now,
    })
}

fn start(runtime: &Runtime, engine: &Arc<Engine>, workers: usize) -> Vec<JoinHandle<()>> {
    (0..workers)
        .map(|index| {
            let mut worker = Worker::new(Arc::clone(engine), index);
            runtime.spawn(async move { worker.run(OnPanic::GoOn).await.unwrap_or(()) })
        })
        .collect()
}

fn stop(runtime: &Runtime, engine: &Engine, workers: Vec<JoinHandle<()>>) {
    runtime.block_on(async {
        engine.close();
        engine.drain(pending()).await;
        for worker in workers {
            worker.await.unwrap();
        }
    });
    let stats = engine.stats();
    assert_eq!((stats.open, stats.open_bytes, stats.lanes), (0, 0, 0));
    assert_eq!(stats.accepted, stats.ok + stats.failed + stats.panicked + stats.abandoned);
}

/// A number that threads wait for.
#[derive(Default)]
struct Count(Mutex<usize>, Condvar);

impl Count {
    fn add(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    fn wait_for(&self, least: usize) {
        let count = self.0.lock().unwrap();
        let (count, timeout) = self
            .1
            .wait_timeout_while(count, Duration::from_secs(180), |count| *count < least)
            .unwrap();
        assert!(!timeout.timed_out(), "{} of {least}", *count);
    }
}

fn message(topic: &str, offset: u64) -> Message {
    let mut message = Message::new(Topic::new(topic).unwrap(), "payload");
    message.offset = offset;
    message
}

/// A handler that blocks its thread does not delay the other messages of its worker: the other
/// thread runs them.
#[test]
fn p9_a_handler_that_blocks_its_thread_holds_up_no_other_key() {
    const OTHERS: u64 = 40;
    let runtime = two_threads();
    let engine = engine(8, Mode::Exclusive, Bounds::default());
    let workers = start(&runtime, &engine, 8);
    for round in 0..100_u64 {
        let count = Arc::new(Count::default());
        let (blocking, others) = (Arc::clone(&count), Arc::clone(&count));
        let blocking = erase(Kind::Regular, move |_: Message| {
            let count = Arc::clone(&blocking);
            async move { count.wait_for(2 * usize::try_from(OTHERS).unwrap()) }
        });
        let other = erase(Kind::Regular, move |_: Message| {
            let count = Arc::clone(&others);
            async move { count.add() }
        });
        // The key that blocks stands at different places among the others, which have two messages
        // each.
        let at = round % OTHERS;
        let mut batch = VecDeque::new();
        for n in 0..2 * OTHERS {
            if n == at {
                let job = Job::new(1_000, message("slow", n), Settlement::ignored());
                batch.push_back(job.with_handler(Arc::clone(&blocking)));
            }
            let job = Job::new(n % OTHERS, message("quick", n), Settlement::ignored());
            batch.push_back(job.with_handler(Arc::clone(&other)));
        }
        // From a task and from a thread outside of the executor, all at once and a few at a time.
        match round % 3 {
            0 => drop(engine.try_submit(&mut batch).unwrap()),
            1 => {
                let engine = Arc::clone(&engine);
                let task = async move { engine.submit(&mut batch, pending()).await };
                runtime.block_on(runtime.spawn(task)).unwrap().unwrap();
            }
            _ => {
                while !batch.is_empty() {
                    let mut few = batch.drain(..batch.len().min(3)).collect();
                    engine.try_submit(&mut few).unwrap();
                }
            }
        }
        count.wait_for(2 * usize::try_from(OTHERS).unwrap());
    }
    stop(&runtime, &engine, workers);
}

/// Each accepted job settles once, in the order of its key, however it ends, and in both modes.
#[test]
fn p5_every_job_settles_once_and_in_order() {
    const KEYS: u64 = 20;
    const EACH: u64 = 200;
    for mode in [Mode::Exclusive, Mode::Fixed(4)] {
        let runtime = two_threads();
        let bounds = Bounds { messages: 300, lane_messages: 100, ..Bounds::default() };
        let engine = engine(6, mode, bounds);
        let workers = start(&runtime, &engine, 6);
        let settled: Arc<Mutex<Vec<(u64, char)>>> = Arc::default();
        let log = Arc::clone(&settled);
        let sink: Arc<dyn Settle> = Arc::new(move |token, outcome: Outcome| {
            let kind = match outcome {
                Outcome::Ok => 'o',
                Outcome::Failed(_) => 'f',
                Outcome::Panicked(_) => 'p',
                Outcome::Abandoned => 'a',
            };
            log.lock().unwrap().push((token, kind));
        });
        let handler = erase(Kind::Envelope, async |message: Message| {
            match message.offset % 7 {
                1 => tokio::time::sleep(Duration::from_micros(10)).await,
                2 => tokio::task::yield_now().await,
                3 => return Err("no"),
                5 => std::panic::resume_unwind(Box::new("boom")),
                _ => {}
            }
            Ok(())
        });
        let submitter = Arc::clone(&engine);
        let run = async move {
            let mut batch: VecDeque<Job> = (0..KEYS * EACH)
                .map(|n| Job::new(n % KEYS, message("t", n), Settlement::new(Arc::clone(&sink), n)))
                .map(|job| job.with_handler(Arc::clone(&handler)))
                .collect();
            while !batch.is_empty() {
                let mut some: VecDeque<Job> = batch.drain(..batch.len().min(50)).collect();
                submitter.submit(&mut some, pending()).await.unwrap();
            }
        };
        runtime.block_on(runtime.spawn(run)).unwrap();
        stop(&runtime, &engine, workers);
        let settled = settled.lock().unwrap();
        assert_eq!(settled.len() as u64, KEYS * EACH);
        let expected = |token: u64| match token % 7 {
            3 => 'f',
            5 => 'p',
            _ => 'o',
        };
        assert!(settled.iter().all(|(token, kind)| *kind == expected(*token)));
        for key in 0..KEYS {
            let of_key: Vec<u64> = settled
                .iter()
                .map(|(token, _)| *token)
                .filter(|token| token % KEYS == key)
                .collect();
            assert!(of_key.is_sorted(), "{mode:?}: key {key}: {of_key:?}");
        }
    }
}

/// A cut-off worker abandons its running job; another worker runs its other jobs, in order.
#[test]
fn p5_a_worker_that_is_cut_off_loses_nothing() {
    let runtime = two_threads();
    let engine = engine(2, Mode::Exclusive, Bounds::default());
    let (running, ended) = (Arc::new(Count::default()), Arc::new(AtomicUsize::new(0)));
    let mut workers = start(&runtime, &engine, 1);
    let started = Arc::clone(&running);
    let stuck = erase(Kind::Regular, move |_: Message| {
        started.add();
        pending::<()>()
    });
    let done = Arc::clone(&ended);
    let quick = erase(Kind::Regular, move |_: Message| {
        done.fetch_add(1, SeqCst);
        async {}
    });
    let mut batch =
        VecDeque::from([Job::new(1, message("t", 0), Settlement::ignored()).with_handler(stuck)]);
    batch.extend((1..10).map(|n| {
        Job::new(1, message("t", n), Settlement::ignored()).with_handler(Arc::clone(&quick))
    }));
    engine.try_submit(&mut batch).unwrap();
    running.wait_for(1);
    let cut_off = workers.remove(0);
    cut_off.abort();
    assert!(runtime.block_on(cut_off).unwrap_err().is_cancelled());
    assert_eq!(engine.stats().abandoned, 1);
    assert_eq!(ended.load(SeqCst), 0);
    let mut other = Worker::new(Arc::clone(&engine), 1);
    let other = runtime.spawn(async move { other.run(OnPanic::GoOn).await.unwrap_or(()) });
    stop(&runtime, &engine, vec![other]);
    assert_eq!(ended.load(SeqCst), 9);
}

#[test]
fn p4_a_job_without_a_handler_is_refused_and_those_before_it_are_taken() {
    let engine = engine(1, Mode::Exclusive, Bounds::default());
    let job = |n| Job::new(n, message("t", n), Settlement::ignored());
    let mut batch = VecDeque::from([
        job(0).with_handler(erase(Kind::Regular, async |_: Message| {})),
        job(1),
        job(2),
    ]);
    assert_eq!(engine.try_submit(&mut batch), Err(SubmitError::NoHandler));
    assert_eq!(batch.iter().map(|job| job.lane).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((engine.stats().accepted, engine.stats().open), (1, 1));
}

/// A waiting submitter gets an error after the timeout, and keeps the jobs that were refused.
#[test]
fn p3_a_full_lane_makes_the_submitter_wait_until_the_timeout() {
    let engine = engine(1, Mode::Exclusive, Bounds { lane_messages: 2, ..Bounds::default() });
    let handler = erase(Kind::Regular, async |_: Message| {});
    let job = |lane| {
        Job::new(lane, message("t", 0), Settlement::ignored()).with_handler(Arc::clone(&handler))
    };
    let mut batch = VecDeque::from([job(1), job(1), job(1), job(2)]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let result = runtime.block_on(
        engine.submit(&mut batch, async { tokio::time::sleep(Duration::from_secs(1)).await }),
    );
    assert_eq!(result, Err(SubmitError::LaneFull { limit: 2 }));
    assert_eq!(batch.iter().map(|job| job.lane).collect::<Vec<_>>(), [1, 2]);
}
