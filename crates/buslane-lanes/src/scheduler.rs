//! Shares lanes between workers: assigns lanes to workers, and wakes workers that sleep.
//!
//! One lock, `core`, protects the lanes, the list of idle workers and the count of busy ones. Each
//! worker's queue has a lock of its own. Order of locks: `core`, then one queue. No waker is woken
//! and no message is dropped under a lock.
//!
//! Liveness invariant: while a worker sleeps and fewer workers are busy than there are cores, no
//! lane is ready, and every message in a local queue belongs to the lane that the queue's owner is
//! running. It holds because
//! - a worker goes idle only after it has searched, under the core lock, the ready lanes and all
//!   queues, or while every core has another busy worker, which searches when it is done;
//! - the code that makes a lane ready wakes a worker;
//! - a worker that frees a core, because its handler waits or it ends, wakes another worker if a
//!   lane is ready or a queue has a lane to steal.

mod run;
mod workers;

use crate::{
    bounds::{Bounds, Refusal},
    count::{Counts, Observer},
    lanes::{LaneKind, LaneRef, LaneStats, Lanes},
    local_queue::LocalQueue,
    sync::{Mutex, MutexGuard},
    waiters::{WaitFor, Waiters},
};
use buslane_core::{Job, LaneState, Route};
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};
use workers::Workers;

pub use run::{Taken, Tick};

/// A message that runs in a lane.
pub trait Item: Send {
    /// The key hash, which identifies the lane.
    fn lane(&self) -> u64;
    /// The bytes that the message counts for. They must not change.
    fn bytes(&self) -> usize;
    /// Whether the lane belongs to a key. Default: [`LaneKind::Keyed`].
    fn kind(&self) -> LaneKind {
        LaneKind::Keyed
    }
}

impl Item for Job {
    fn lane(&self) -> u64 {
        self.lane
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn kind(&self) -> LaneKind {
        match self.message.route {
            Route::RoundRobin(_) => LaneKind::Keyless,
            _ => LaneKind::Keyed,
        }
    }
}

/// How messages find their lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Each key has a lane of its own, so keys never wait for each other. The default.
    #[default]
    Exclusive,
    /// Keys share this many lanes, by key hash modulo their number, and wait for each other in a
    /// lane.
    Fixed(u64),
}

impl Mode {
    const fn lane(self, id: u64) -> u64 {
        match self {
            Self::Exclusive => id,
            Self::Fixed(0) => 0,
            Self::Fixed(slots) => id % slots,
        }
    }

    /// In fixed mode, messages without a key share their lanes with keys.
    fn kind(self, item: &impl Item) -> LaneKind {
        match self {
            Self::Exclusive => item.kind(),
            Self::Fixed(_) => LaneKind::Keyed,
        }
    }
}

/// The next task of a worker.
#[derive(Debug)]
pub enum Next<T> {
    /// To run this message.
    Run {
        /// Its lane, which is given back by the next [`Scheduler::poll_next`] or by
        /// [`Scheduler::defer`].
        lane: LaneRef,
        /// The message.
        item: T,
        /// Whether the message is the first of a batch.
        first: bool,
        /// Whether to yield to the executor first. A task was woken, and an executor that queues it
        /// behind this one would not start it until this handler returns.
        yield_first: bool,
    },
    /// To end: the scheduler is closed and all messages have ended.
    Closed,
}

struct Core<T> {
    lanes: Lanes<T>,
    workers: Workers,
    waiters: Waiters,
    timer: Option<Waker>,
    /// Woken when no message is open any more.
    idle: Vec<Waker>,
    open: bool,
    counts: Counts,
    /// The part of `counts` that the observer has not received.
    unheard: Counts,
    /// The number of calls of the observer.
    reports: u64,
    /// Whether the state of the lanes has changed without a count.
    has_news: bool,
}

impl<T> Core<T> {
    fn count(&mut self, change: Counts) {
        self.counts += change;
        self.unheard += change;
    }

    /// Whether more than `messages` can run, so that further ones would not keep another worker
    /// busy.
    fn is_deep(&self, messages: usize) -> bool {
        // While workers sleep although lanes are ready, cores are scarce. Otherwise each worker may
        // need a lane.
        let lanes = if self.workers.any_idle() {
            4 * self.workers.parallelism()
        } else {
            2 * self.workers.len()
        };
        self.lanes.runnable() > messages && self.lanes.ready() > lanes
    }

    fn abandoned(&mut self, messages: usize) {
        self.count(Counts { abandoned: messages as u64, ..Counts::ZERO });
    }
}

/// The number of messages that suffices in front of the workers while no worker lacks a lane.
const DEEP: usize = 8192;

/// Lanes shared between a fixed number of workers.
///
/// ```
/// use buslane_lanes::{Bounds, Item, Mode, Scheduler};
/// use std::collections::VecDeque;
///
/// struct Message {
///     key_hash: u64,
/// }
///
/// impl Item for Message {
///     fn lane(&self) -> u64 {
///         self.key_hash
///     }
///
///     fn bytes(&self) -> usize {
///         size_of::<Self>()
///     }
/// }
///
/// let bounds = Bounds { messages: 2, ..Bounds::default() };
/// let scheduler = Scheduler::new(4, 2, Mode::Exclusive, 16, bounds, ());
/// let mut batch: VecDeque<_> = (0..3).map(|key_hash| Message { key_hash }).collect();
/// assert!(scheduler.submit(&mut batch).is_err());
/// assert_eq!((batch.len(), scheduler.stats().0.open), (1, 2));
/// ```
pub struct Scheduler<T> {
    core: Mutex<Core<T>>,
    queues: Box<[Mutex<LocalQueue<T>>]>,
    mode: Mode,
    quantum: usize,
    observer: Box<dyn Observer>,
}

impl<T: Item> Scheduler<T> {
    /// A scheduler for `workers` workers, of which `parallelism` can run at the same time: the
    /// number of the executor's threads. A worker runs at most `quantum` messages of a lane in a
    /// row while other lanes wait.
    #[must_use]
    pub fn new(
        workers: usize,
        parallelism: usize,
        mode: Mode,
        quantum: usize,
        bounds: Bounds,
        observer: impl Observer,
    ) -> Self {
        let core = Core {
            lanes: Lanes::new(bounds),
            workers: Workers::new(workers, parallelism),
            waiters: Waiters::default(),
            timer: None,
            idle: Vec::new(),
            open: true,
            counts: Counts::ZERO,
            unheard: Counts::ZERO,
            reports: 0,
            has_news: false,
        };
        let queues = (0..workers).map(|_| Mutex::new(LocalQueue::new())).collect();
        Self {
            core: Mutex::new(core),
            queues,
            mode,
            quantum: quantum.clamp(1, workers::LOCAL_QUEUE),
            observer: Box::new(observer),
        }
    }

    /// Takes messages from the front of `batch` while there is room. Never waits.
    ///
    /// # Errors
    /// The bound that refused the message that is now at the front.
    pub fn submit(&self, batch: &mut VecDeque<T>) -> Result<(), Refusal> {
        self.submit_as(batch, |item| item).map(drop)
    }

    /// As [`Scheduler::submit`], but converts each message with `form` as it is taken. Returns
    /// whether more messages should be submitted now: see [`WaitFor::Drain`].
    ///
    /// # Errors
    /// As [`Scheduler::submit`].
    pub fn submit_as<U: Item>(
        &self,
        batch: &mut VecDeque<U>,
        mut form: impl FnMut(U) -> T,
    ) -> Result<bool, Refusal> {
        let mut core = self.core.lock();
        if !core.open {
            return if batch.is_empty() { Ok(true) } else { Err(Refusal::Closed) };
        }
        let mut refused = None;
        let mut wakers = Vec::new();
        let mut looked = false;
        let before = batch.len();
        while let Some(first) = batch.front() {
            let (lane, kind, bytes) =
                (self.mode.lane(first.lane()), self.mode.kind(first), first.bytes());
            let next = || form(batch.pop_front().expect("the batch has a first message"));
            if let Err(refusal) = core.lanes.admit(lane, kind, bytes, next) {
                // Messages that have ended may still be unreported in a local queue.
                if std::mem::replace(&mut looked, true) || !self.report_all(&mut core, &mut wakers)
                {
                    refused = Some(refusal);
                    break;
                }
            }
        }
        core.count(Counts { accepted: (before - batch.len()) as u64, ..Counts::ZERO });
        self.rouse_worker(&mut core, &mut wakers);
        let more = !core.is_deep(DEEP);
        self.leave(core, wakers);
        refused.map_or(Ok(more), Err)
    }

    /// Completes when the requested capacity is available, or the scheduler is closed. Reserves
    /// nothing: another submitter may take the capacity first. `ticket` identifies the waiter
    /// between polls; pass it to [`Scheduler::forget`] when the wait is given up.
    pub fn poll_capacity(
        &self,
        cx: &Context<'_>,
        want: WaitFor,
        ticket: &mut Option<u64>,
    ) -> Poll<()> {
        let want = match want {
            WaitFor::Room { lane, bytes } => WaitFor::Room { lane: self.mode.lane(lane), bytes },
            WaitFor::Drain => WaitFor::Drain,
        };
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        let is_there = |core: &Core<T>| match want {
            WaitFor::Room { lane, bytes } => !core.open || core.lanes.has_room(lane, bytes).is_ok(),
            WaitFor::Drain => !core.open || !core.is_deep(DEEP),
        };
        let mut ready = is_there(&core);
        if let WaitFor::Room { .. } = want {
            // Messages that have ended may still be unreported in a local queue.
            ready = ready || (self.report_all(&mut core, &mut wakers) && is_there(&core));
            wakers.extend(self.wake_worker(&mut core));
        }
        if !ready {
            *ticket = Some(core.waiters.wait(*ticket, want, cx.waker()));
        } else if let Some(ticket) = ticket.take() {
            core.waiters.forget(ticket);
        }
        self.leave(core, wakers);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Removes a waiter from the list.
    pub fn forget(&self, ticket: u64) {
        self.core.lock().waiters.forget(ticket);
    }

    /// Wakes the submitters whose capacity is available now.
    fn wake_waiters(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        if !core.waiters.is_empty() {
            let is_shallow = !core.is_deep(DEEP / 2);
            let Core { waiters, lanes, .. } = core;
            let is = |want| match want {
                WaitFor::Room { lane, bytes } => lanes.has_headroom(lane, bytes),
                WaitFor::Drain => is_shallow,
            };
            waiters.take_ready(is, |waker| wakers.push(waker));
        }
    }

    /// The state of the lanes and the counts since the start. Exact: `accepted` is the sum of the
    /// ended, moved and open messages.
    pub fn stats(&self) -> (LaneStats, Counts) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.report_all(&mut core, &mut wakers);
        let stats = (core.lanes.stats(), core.counts);
        self.leave(core, wakers);
        stats
    }

    /// The state of the lane of a key hash, if it has messages or is kept idle.
    pub fn lane(&self, id: u64) -> Option<LaneState> {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.report_all(&mut core, &mut wakers);
        let lane = core.lanes.lane(self.mode.lane(id));
        self.leave(core, wakers);
        lane
    }

    /// Limits the number of active lanes; see [`Lanes::limit_active`].
    pub fn limit_active(&self, lanes: usize) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        core.lanes.limit_active(lanes);
        self.wake_waiters(&mut core, &mut wakers);
        self.leave(core, wakers);
    }

    fn report_ended(&self, core: &mut Core<T>, queue: &mut LocalQueue<T>, wakers: &mut Vec<Waker>) {
        if queue.ended.is_empty() {
            return;
        }
        for ended in queue.ended.drain(..) {
            core.lanes.finish(ended.lane, ended.messages, ended.bytes);
        }
        core.count(std::mem::take(&mut queue.counts));
        self.after_finish(core, wakers);
    }

    /// Reports the ended messages of all queues. Returns whether there were any.
    fn report_all(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) -> bool {
        let mut any = false;
        for worker in core.workers.claimers() {
            let mut queue = self.queues[worker].lock();
            any |= !queue.ended.is_empty();
            self.report_ended(core, &mut queue, wakers);
        }
        any
    }

    fn after_finish(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        self.wake_waiters(core, wakers);
        if core.lanes.wants_sweep() {
            wakers.extend(core.timer.take());
        }
        if !core.open && core.lanes.is_empty() {
            wakers.append(&mut core.idle);
            core.workers.wake_all(wakers);
        }
    }

    /// Ends a critical section: wakes tasks and calls the observer after the lock is released.
    fn leave(&self, mut core: MutexGuard<'_, Core<T>>, wakers: Vec<Waker>) {
        if core.unheard == Counts::ZERO && !core.has_news {
            drop(core);
            wakers.into_iter().for_each(Waker::wake);
            return;
        }
        let unheard = std::mem::take(&mut core.unheard);
        core.has_news = false;
        core.reports += 1;
        let (number, lanes) = (core.reports, core.lanes.stats());
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        self.observer.changed(number, unheard, lanes);
    }

    fn wake_worker(&self, core: &mut Core<T>) -> Option<Waker> {
        if core.lanes.ready() > 0 { core.workers.wake_one() } else { None }
    }

    /// As [`Scheduler::wake_worker`], for a worker that frees a core: also searches the queues for
    /// messages behind a handler that computes.
    fn rouse_worker(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        if !core.workers.has_spare() {
            return;
        }
        let mut hidden = false;
        if core.lanes.ready() == 0 {
            for worker in core.workers.claimers() {
                let mut queue = self.queues[worker].lock();
                self.report_ended(core, &mut queue, wakers);
                hidden |= queue.has_stealable();
            }
        }
        if hidden || core.lanes.ready() > 0 {
            wakers.extend(core.workers.wake_one());
        }
    }
}
