//! Lanes shared between workers: who runs what, who sleeps, who is woken.
//!
//! State and owner: the lanes, the list of idle workers and the count of busy ones live behind one
//! lock, `core`. Each worker's queue has a lock of its own. Order of locks: `core`, then a queue;
//! never the other way round, and never two queues. Nothing is woken and nothing is dropped under a
//! lock.
//!
//! What keeps it live: while a worker sleeps and fewer are busy than there are cores, no lane is
//! ready, and no queue holds a message of a lane other than the one its owner is running. Therefore
//! - a worker goes idle only after it has looked, under the core lock, for a ready lane and through
//!   all queues, or while every core has another busy one, which looks when it is done;
//! - whoever makes a lane ready wakes a worker;
//! - whoever leaves a core free otherwise, because its handler waits or it goes, looks through the
//!   queues as well.

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

/// Something that runs in a lane.
pub trait Item: Send {
    /// Its lane.
    fn lane(&self) -> u64;
    /// Bytes it counts for; must not change.
    fn bytes(&self) -> usize;
    /// Whether its lane is that of a key. Default: it is.
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
    /// A lane per key: keys wait for each other never. The default.
    #[default]
    Exclusive,
    /// This many lanes, key hash modulo their number: keys of one slot wait for each other.
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

    /// Messages without a key share the lanes of fixed slots with keys.
    fn kind(self, item: &impl Item) -> LaneKind {
        match self {
            Self::Exclusive => item.kind(),
            Self::Fixed(_) => LaneKind::Keyed,
        }
    }
}

/// What a worker does next.
#[derive(Debug)]
pub enum Next<T> {
    /// Run this message.
    Run {
        /// Its lane; to be given back with the next [`Scheduler::poll_next`], or with
        /// [`Scheduler::park`].
        lane: LaneRef,
        /// The message.
        item: T,
        /// Whether it is the first of a batch.
        first: bool,
        /// Whether to let the executor run another task before it: one was woken, and an executor
        /// that queues it behind this one would not start it until this handler returns.
        yield_first: bool,
    },
    /// The scheduler is closed and everything has ended.
    Closed,
}

struct Core<T> {
    lanes: Lanes<T>,
    workers: Workers,
    waiters: Waiters,
    timer: Option<Waker>,
    /// Woken when nothing is open any more.
    idle: Vec<Waker>,
    open: bool,
    counts: Counts,
    /// Part of `counts` that the observer has not heard of.
    unheard: Counts,
    /// Calls of the observer so far.
    reports: u64,
    /// The figures have changed although nothing was counted.
    has_news: bool,
}

impl<T> Core<T> {
    fn count(&mut self, change: Counts) {
        self.counts += change;
        self.unheard += change;
    }

    /// Whether more than `messages` can run, and more of them would not keep one more worker busy.
    fn is_deep(&self, messages: usize) -> bool {
        // While workers sleep although lanes are ready the cores are what is short. Else each
        // worker may need a lane.
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

/// Messages that are enough in front of the workers, as long as no worker lacks a lane.
const DEEP: usize = 8192;

/// Lanes shared between a fixed number of workers.
pub struct Scheduler<T> {
    core: Mutex<Core<T>>,
    queues: Box<[Mutex<LocalQueue<T>>]>,
    mode: Mode,
    quantum: usize,
    observer: Box<dyn Observer>,
}

impl<T: Item> Scheduler<T> {
    /// A scheduler for `workers` workers, of which `parallelism` can run at the same time: the
    /// executor's threads. A worker runs on in one lane for at most `quantum` messages while others
    /// wait.
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

    /// Takes messages from the front of `batch` while there is room; never waits.
    ///
    /// # Errors
    /// The bound that refused the message now at the front.
    pub fn submit(&self, batch: &mut VecDeque<T>) -> Result<(), Refusal> {
        self.submit_as(batch, |item| item).map(drop)
    }

    /// As [`Scheduler::submit`], where messages are put into another form as they are taken.
    /// Returns whether it makes sense to submit more: see [`WaitFor::Drain`].
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

    /// Ready when the requested capacity is available, or the scheduler is closed. Nothing is
    /// reserved: another submitter may take it first. `ticket` names the waiter between polls; hand
    /// it to [`Scheduler::forget`] when the wait is given up.
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

    /// Takes a waiter off the list.
    pub fn forget(&self, ticket: u64) {
        self.core.lock().waiters.forget(ticket);
    }

    /// Wakes the submitters that find now what they wait for.
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

    /// Figures of the moment and counts since start. Exact: accepted is ended plus open.
    pub fn stats(&self) -> (LaneStats, Counts) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.report_all(&mut core, &mut wakers);
        let stats = (core.lanes.stats(), core.counts);
        self.leave(core, wakers);
        stats
    }

    /// What is known of the lane of a key hash: one with messages, or an idle one that is kept.
    pub fn lane(&self, id: u64) -> Option<LaneState> {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.report_all(&mut core, &mut wakers);
        let lane = core.lanes.lane(self.mode.lane(id));
        self.leave(core, wakers);
        lane
    }

    /// Begins no further lane while so many are active; see [`Lanes::limit_active`].
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

    /// Reports what has ended in all queues; tells whether there was any.
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

    /// Ends a critical section: what is to be said and woken happens outside of the lock.
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

    /// As [`Scheduler::wake_worker`] for whoever leaves a core free: looks also for what lies in a
    /// queue behind a handler that computes.
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
