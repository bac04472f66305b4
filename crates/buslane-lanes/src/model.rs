//! The scheduler under a model checker: many interleavings of workers, submitters, a timer, purges
//! and the end.
//!
//! A lost wake-up shows as a deadlock, which the checker reports with the schedule that leads
//! there. Each worker is a thread of its own, as if every one had a core.

#![cfg(test)]

mod scenarios;

use crate::{Bounds, End, Ended, Item, LaneRef, Mode, Next, Refusal, Scheduler, Tick, WaitFor};
use shuttle::{future::block_on, sync::Condvar, thread};
use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// What the handler of a message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Returns at once.
    Quick,
    /// Waits, and lets others run meanwhile.
    Wait,
    /// Fails this often, then succeeds.
    Fail(u32),
    /// Ends its worker, which starts again.
    Crash,
    /// Ends its worker for good.
    Quit,
    /// Blocks its thread until this message has ended.
    Block(u64, u64),
    /// Waits until this message has ended, and lets others run meanwhile.
    Await(u64, u64),
}

#[derive(Debug)]
struct Message {
    key: u64,
    seq: u64,
    work: Work,
}

impl Item for Message {
    fn lane(&self) -> u64 {
        self.key
    }
    fn bytes(&self) -> usize {
        usize::try_from(self.seq).unwrap_or(0) + 1
    }
}

/// The record of a key.
#[derive(Default)]
struct Key {
    running: bool,
    last: Option<u64>,
}

#[derive(Default)]
struct Log {
    keys: BTreeMap<u64, Key>,
    ended: u64,
    purged: u64,
    waiting: Vec<Waker>,
}

impl Log {
    fn has_ended(&self, key: u64, seq: u64) -> bool {
        self.keys.get(&key).is_some_and(|key| key.last >= Some(seq))
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

struct World {
    scheduler: Arc<Scheduler<Message>>,
    log: Arc<shuttle::sync::Mutex<Log>>,
    changed: Arc<Condvar>,
    epoch: Instant,
}

impl World {
    fn new(workers: usize, cores: usize, quantum: usize, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            scheduler: Arc::new(Scheduler::new(
                workers,
                cores,
                Mode::Exclusive,
                quantum,
                bounds,
                (),
            )),
            log: Arc::default(),
            changed: Arc::new(Condvar::new()),
            epoch: Instant::now(),
        })
    }

    /// A world with its own scheduler, in which the same messages run.
    fn beside(&self, workers: usize, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            scheduler: Arc::new(Scheduler::new(workers, workers, Mode::Exclusive, 2, bounds, ())),
            log: Arc::clone(&self.log),
            changed: Arc::clone(&self.changed),
            epoch: self.epoch,
        })
    }

    fn begin(&self, message: &Message) {
        let mut log = self.log.lock().unwrap();
        let key = log.keys.entry(message.key).or_default();
        assert!(
            !std::mem::replace(&mut key.running, true),
            "two messages of key {} at a time",
            message.key
        );
        assert!(key.last.is_none_or(|last| last < message.seq), "order of key {}", message.key);
    }

    fn leave(&self, message: &Message, has_ended: bool) {
        let mut log = self.log.lock().unwrap();
        let key = log.keys.get_mut(&message.key).unwrap();
        key.running = false;
        if has_ended {
            key.last = Some(message.seq);
            log.ended += 1;
            log.wake();
            self.changed.notify_all();
        }
    }

    /// Runs a message. Returns it if it has to run again.
    async fn attempt(&self, worker: usize, lane: LaneRef, mut message: Message) -> Option<Ended> {
        self.begin(&message);
        match message.work {
            Work::Quick => thread::yield_now(),
            Work::Wait => {
                self.scheduler.suspend(worker);
                shuttle::future::yield_now().await;
            }
            Work::Fail(times) if times > 0 => {
                message.work = Work::Fail(times - 1);
                self.leave(&message, false);
                let until = self.epoch + Duration::from_secs(u64::from(times));
                self.scheduler.defer(worker, lane, message, until, times == 1, true);
                return None;
            }
            Work::Fail(_) => {}
            Work::Crash | Work::Quit => {
                self.leave(&message, true);
                let ended = Ended { lane, bytes: message.bytes(), end: End::Panicked };
                self.scheduler.retire(worker, Some(ended));
                return None;
            }
            Work::Block(key, seq) => {
                let log = self.log.lock().unwrap();
                drop(self.changed.wait_while(log, |log| !log.has_ended(key, seq)).unwrap());
            }
            Work::Await(key, seq) => {
                let mut suspended = false;
                poll_fn(|cx| {
                    let mut log = self.log.lock().unwrap();
                    if log.has_ended(key, seq) {
                        return Poll::Ready(());
                    }
                    log.waiting.push(cx.waker().clone());
                    drop(log);
                    if !std::mem::replace(&mut suspended, true) {
                        self.scheduler.suspend(worker);
                    }
                    Poll::Pending
                })
                .await;
            }
        }
        self.leave(&message, true);
        Some(Ended { lane, bytes: message.bytes(), end: End::Ok })
    }

    async fn work(&self, worker: usize) {
        let mut ended = None;
        while let Next::Run { lane, item, .. } =
            poll_fn(|cx| self.scheduler.poll_next(worker, cx, &mut ended)).await
        {
            let is_last = item.work == Work::Quit;
            ended = self.attempt(worker, lane, item).await;
            if is_last {
                return;
            }
        }
    }

    /// Advances time to the next deferred lane whenever there is one.
    async fn keep_time(&self) {
        let mut now = self.epoch;
        poll_fn(|cx| {
            loop {
                match self.scheduler.tick(cx, now) {
                    Tick::Closed => return Poll::Ready(()),
                    Tick::Nothing => return Poll::Pending,
                    Tick::Due(at) => now = at,
                }
                thread::yield_now();
            }
        })
        .await;
    }

    /// Submits in batches of `size`. Returns the number of messages accepted before the scheduler
    /// closed.
    async fn submit(&self, messages: Vec<Message>, size: usize) -> u64 {
        let mut rest: VecDeque<Message> = messages.into();
        let (mut ticket, mut taken) = (None, 0);
        while !rest.is_empty() {
            let mut batch: VecDeque<Message> = rest.drain(..size.min(rest.len())).collect();
            while !batch.is_empty() {
                let before = batch.len();
                let result = self.scheduler.submit(&mut batch);
                taken += (before - batch.len()) as u64;
                match result {
                    Err(Refusal::Closed) => return taken,
                    Ok(()) => assert!(batch.is_empty()),
                    Err(_) => {
                        let room = WaitFor::Room { lane: batch[0].lane(), bytes: batch[0].bytes() };
                        poll_fn(|cx| self.scheduler.poll_capacity(cx, room, &mut ticket)).await;
                    }
                }
            }
        }
        taken
    }

    /// Waits until this many messages have ended or were purged.
    async fn ended(&self, messages: u64) {
        poll_fn(|cx| {
            let mut log = self.log.lock().unwrap();
            log.waiting.push(cx.waker().clone());
            if log.ended + log.purged == messages { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

fn spawn<T: Send + 'static, F: Future<Output = T> + 'static>(
    world: &Arc<World>,
    run: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || block_on(run(world)))
}

/// A world with its threads: workers and the timer.
struct Running {
    world: Arc<World>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Running {
    fn new(workers: usize, quantum: usize, bounds: Bounds) -> Self {
        Self::with_cores(workers, workers, quantum, bounds)
    }

    fn with_cores(workers: usize, cores: usize, quantum: usize, bounds: Bounds) -> Self {
        Self::in_world(World::new(workers, cores, quantum, bounds), workers)
    }

    fn in_world(world: Arc<World>, workers: usize) -> Self {
        let threads = (0..workers)
            .map(|index| spawn(&world, move |world| async move { world.work(index).await }))
            .collect();
        Self { world, threads }
    }

    /// Starts the timer.
    fn keep_time(&mut self) {
        self.threads.push(spawn(&self.world, |world| async move { world.keep_time().await }));
    }

    fn submit(&self, messages: Vec<Message>, size: usize) -> thread::JoinHandle<u64> {
        spawn(&self.world, move |world| async move { world.submit(messages, size).await })
    }

    /// Closes the scheduler, joins all threads, and checks that every accepted message has ended.
    fn close(self, accepted: impl FnOnce() -> u64) {
        let gone = self.world.scheduler.close().len() as u64;
        let accepted = accepted();
        block_on(poll_fn(|cx| self.world.scheduler.poll_drained(cx)));
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let (lanes, counts) = self.world.scheduler.stats();
        assert_eq!((lanes.open, lanes.open_bytes, lanes.lanes), (0, 0, 0));
        assert_eq!((counts.accepted, counts.ended()), (accepted, accepted));
        let log = self.world.log.lock().unwrap();
        // A retry that comes up while the scheduler closes is abandoned as well.
        assert!(log.ended + log.purged + gone <= accepted);
        assert_eq!(counts.ok + counts.panicked, log.ended);
    }
}
