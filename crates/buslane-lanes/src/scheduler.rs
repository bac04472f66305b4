//! Lanes shared between workers: who runs what, who sleeps, who is woken.
//!
//! State and owner: the lanes, the list of idle workers and the count of busy ones live behind one lock, `core`.
//! Each worker's tray has a lock of its own. Order of locks: `core`, then a tray; never the other way round, and
//! never two trays. Nothing is woken and nothing is dropped under a lock.
//!
//! Two rules keep it live:
//! - a worker goes idle only after it has found, under the core lock, no ready lane and nothing in any tray;
//! - whoever makes a lane ready wakes an idle worker, unless as many are busy as there are cores: a busy worker
//!   looks again before it goes idle.

#[cfg(test)]
mod model;
mod workers;

use crate::{
    bounds::{Bounds, Refusal},
    count::{Counts, Observer},
    lanes::{LaneRef, LaneStats, Lanes},
    sync::{Mutex, MutexGuard},
    tray::{Ended, Tray},
    waiters::{Waiters, Want},
};
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
    time::Instant,
};
use workers::{Phase, Workers};

/// Something that runs in a lane.
pub trait Item: Send {
    /// Its lane.
    fn lane(&self) -> u64;
    /// Bytes it counts for; must not change.
    fn bytes(&self) -> usize;
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
            Self::Fixed(slots) => id % slots,
        }
    }
}

/// What a worker does next.
#[derive(Debug)]
pub enum Next<T> {
    /// Run this message. `first` says that it is the first of a new batch. `yield_first` asks to let the executor run another task before: a task was woken, and
    /// an executor that queues it behind this one would not start it until this handler returns.
    Run {
        /// Its lane; to be given back with the next [`Scheduler::poll_next`], or with [`Scheduler::park`].
        lane: LaneRef,
        /// The message.
        item: T,
        /// Whether it is the first of a batch.
        first: bool,
        /// Whether to yield before running it.
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
}

impl<T> Core<T> {
    fn count(&mut self, change: Counts) {
        self.counts += change;
        self.unheard += change;
    }

    fn abandoned(&mut self, messages: usize) {
        self.count(Counts { abandoned: messages as u64, ..Counts::ZERO });
    }
}

/// Messages that are enough in front of the workers, as long as no worker lacks a lane.
const DEEP: usize = 8192;

/// Most messages in a tray. More saves no time: the lock is a small part of so many.
const TRAY: usize = 128;

/// Lanes shared between a fixed number of workers.
pub struct Scheduler<T> {
    core: Mutex<Core<T>>,
    trays: Box<[Mutex<Tray<T>>]>,
    mode: Mode,
    quantum: usize,
    observer: Box<dyn Observer>,
}

impl<T: Item> Scheduler<T> {
    /// A scheduler for `workers` workers, of which `parallelism` can run at the same time: the executor's threads.
    /// A worker runs on in one lane for at most `quantum` messages while others wait.
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
        };
        let trays = (0..workers).map(|_| Mutex::new(Tray::new())).collect();
        Self { core: Mutex::new(core), trays, mode, quantum: quantum.clamp(1, TRAY), observer: Box::new(observer) }
    }

    /// Takes messages from the front of `batch` while there is room; never waits.
    ///
    /// # Errors
    /// The bound that refused the message now at the front.
    pub fn submit(&self, batch: &mut VecDeque<T>) -> Result<(), Refusal> {
        let mut core = self.core.lock();
        if !core.open {
            return if batch.is_empty() { Ok(()) } else { Err(Refusal::Closed) };
        }
        let mut result = Ok(());
        let mut wakers = Vec::new();
        let mut looked = false;
        let before = batch.len();
        while let Some(first) = batch.front() {
            let (lane, bytes) = (self.mode.lane(first.lane()), first.bytes());
            let next = || batch.pop_front().expect("the batch has a first message");
            if let Err(refusal) = core.lanes.admit(lane, bytes, next) {
                // What has ended may still lie in a tray.
                if std::mem::replace(&mut looked, true) || !self.report_all(&mut core, &mut wakers) {
                    result = Err(refusal);
                    break;
                }
            }
        }
        core.count(Counts { accepted: (before - batch.len()) as u64, ..Counts::ZERO });
        if core.lanes.ready() == 0 && core.workers.has_spare() {
            // A lane of which everything has ended may still lie in a tray, behind a handler that computes.
            self.report_all(&mut core, &mut wakers);
        }
        wakers.extend(self.wake_worker(&mut core));
        self.leave(core, wakers);
        result
    }

    /// Ready when a message of `bytes` with the key hash `id` would fit, or the scheduler is closed. `ticket` names
    /// the waiter between polls; hand it to [`Scheduler::forget`] when the wait is given up.
    pub fn poll_room(&self, cx: &Context<'_>, id: u64, bytes: usize, ticket: &mut Option<u64>) -> Poll<()> {
        let lane = self.mode.lane(id);
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        // What has ended may still lie in a tray.
        let has_room = |core: &Core<T>| !core.open || core.lanes.has_room(lane, bytes).is_ok();
        let ready = has_room(&core) || (self.report_all(&mut core, &mut wakers) && has_room(&core));
        if !ready {
            *ticket = Some(core.waiters.wait(*ticket, Want::Room { lane, bytes }, cx.waker()));
        } else if let Some(ticket) = ticket.take() {
            core.waiters.forget(ticket);
        }
        self.leave(core, wakers);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ready when it makes sense to submit more. More than a few thousand messages in front of workers that are all
    /// provided for would only push each other out of the processor's cache. Never pending for lack of lanes: a
    /// few hot keys do not keep the others waiting. The ticket is as in [`Scheduler::poll_room`].
    pub fn poll_turn(&self, cx: &Context<'_>, ticket: &mut Option<u64>) -> Poll<()> {
        let mut core = self.core.lock();
        if !core.open || !core.lanes.is_deep(self.trays.len(), DEEP) {
            if let Some(ticket) = ticket.take() {
                core.waiters.forget(ticket);
            }
            return Poll::Ready(());
        }
        *ticket = Some(core.waiters.wait(*ticket, Want::Turn, cx.waker()));
        Poll::Pending
    }

    /// Takes a waiter off the list.
    pub fn forget(&self, ticket: u64) {
        self.core.lock().waiters.forget(ticket);
    }

    /// What `worker` does next, after the message in `ended`; pending while there is nothing to do.
    pub fn poll_next(&self, worker: usize, cx: &Context<'_>, ended: &mut Option<Ended>) -> Poll<Next<T>> {
        {
            let mut tray = self.trays[worker].lock();
            if let Some(ended) = ended.take() {
                tray.end(ended);
            }
            if let Some((lane, item)) = tray.next() {
                return Poll::Ready(Next::Run { lane, item, first: false, yield_first: false });
            }
        }
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        core.workers.set(worker, Phase::Busy);
        let next = match self.refill(&mut core, worker, &mut wakers) {
            Some((lane, item)) => {
                wakers.extend(self.wake_worker(&mut core));
                Poll::Ready(Next::Run { lane, item, first: true, yield_first: !wakers.is_empty() })
            }
            None if !core.open && core.lanes.is_empty() => {
                core.workers.set(worker, Phase::Gone);
                Poll::Ready(Next::Closed)
            }
            None => {
                core.workers.sleep(worker, cx.waker());
                Poll::Pending
            }
        };
        self.leave(core, wakers);
        next
    }

    /// Says that `worker` waits for its running message: gives everything else it holds back, and lets another
    /// worker go on.
    pub fn suspend(&self, worker: usize) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.empty_tray(&mut core, worker, &mut wakers);
        core.workers.set(worker, Phase::Waiting);
        self.wake_successor(&mut core, &mut wakers);
        self.leave(core, wakers);
    }

    /// Puts the running message back to the front of its lane, and lets the lane wait until `until`. While the
    /// scheduler closes nobody waits for a retry: the message is abandoned instead, and with it what stands behind
    /// it and would overtake it. Tells whether to yield before the next message, as [`Next::Run`] does.
    pub fn park(&self, worker: usize, lane: LaneRef, item: T, until: Instant, blocked: bool) -> bool {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        let sooner = core.lanes.next_due().is_none_or(|due| until < due);
        {
            let mut tray = self.trays[worker].lock();
            tray.running = None;
            let mut behind = Vec::new();
            while let Some(item) = tray.pop_front_of(lane) {
                behind.push(item);
            }
            self.report_ended(&mut core, &mut tray, &mut wakers);
            drop(tray);
            for item in behind.into_iter().rev() {
                core.lanes.give_back(lane, item);
            }
        }
        let mut gone = Vec::new();
        if core.open {
            core.lanes.park(lane, item, until, blocked);
            core.count(Counts { retried: 1, ..Counts::ZERO });
            wakers.extend(core.timer.take_if(|_| sooner));
            self.wake_waiters(&mut core, &mut wakers);
        } else {
            core.lanes.abandon(lane, item, &|item| item.bytes(), &mut |item| gone.push(item));
            core.abandoned(gone.len());
            self.after_finish(&mut core, &mut wakers);
        }
        let woken = !wakers.is_empty();
        self.leave(core, wakers);
        drop(gone);
        woken
    }

    /// Says what has ended of what `worker` has taken, without taking more.
    pub fn report(&self, worker: usize) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.report_ended(&mut core, &mut self.trays[worker].lock(), &mut wakers);
        wakers.extend(self.wake_worker(&mut core));
        self.leave(core, wakers);
    }

    /// Makes the parked lanes ready whose time has come, and returns when the next is due. Wakes `cx` when an
    /// earlier one comes up, or the scheduler closes.
    pub fn tick(&self, cx: &Context<'_>, now: Instant) -> Tick {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if !core.open {
            return Tick::Closed;
        }
        for _ in 0..core.lanes.wake_due(now) {
            wakers.extend(self.wake_worker(&mut core));
        }
        core.timer = Some(cx.waker().clone());
        let tick = core.lanes.next_due().map_or(Tick::Nothing, Tick::Due);
        self.leave(core, wakers);
        tick
    }

    /// Takes `worker` out: what it holds goes back to the lanes, and `running` has ended without its doing.
    pub fn retire(&self, worker: usize, running: Option<Ended>) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if let Some(ended) = running {
            self.trays[worker].lock().end(ended);
        }
        self.empty_tray(&mut core, worker, &mut wakers);
        core.workers.set(worker, Phase::Gone);
        self.wake_successor(&mut core, &mut wakers);
        self.leave(core, wakers);
    }

    /// Removes every message that `matches` and is not running, and returns them for the caller to drop.
    pub fn purge(&self, matches: &dyn Fn(&T) -> bool) -> Vec<T> {
        let (mut gone, mut wakers) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        for worker in core.workers.claimers() {
            let mut tray = self.trays[worker].lock();
            self.report_ended(&mut core, &mut tray, &mut wakers);
            let mut taken = Vec::new();
            tray.extract(matches, |lane, item| taken.push((lane, item)));
            drop(tray);
            for (lane, item) in taken {
                core.lanes.finish(lane, 1, item.bytes());
                gone.push(item);
            }
        }
        core.lanes.purge(matches, &|item| item.bytes(), &mut |item| gone.push(item));
        core.abandoned(gone.len());
        self.after_finish(&mut core, &mut wakers);
        self.leave(core, wakers);
        gone
    }

    /// Takes no more messages, and returns those of parked lanes for the caller to drop: nobody waits for a retry
    /// now.
    pub fn close(&self) -> Vec<T> {
        let (mut gone, mut wakers) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        core.open = false;
        core.lanes.purge_parked(&|item| item.bytes(), &mut |item| gone.push(item));
        core.abandoned(gone.len());
        core.waiters.take_all(|waker| wakers.push(waker));
        wakers.extend(core.timer.take());
        self.after_finish(&mut core, &mut wakers);
        self.leave(core, wakers);
        gone
    }

    /// Whether it takes messages.
    pub fn is_open(&self) -> bool {
        self.core.lock().open
    }

    /// Ready when the scheduler is closed and nothing is open.
    pub fn poll_drained(&self, cx: &Context<'_>) -> Poll<()> {
        let mut core = self.core.lock();
        if !core.open && core.lanes.is_empty() {
            return Poll::Ready(());
        }
        if !core.idle.iter().any(|waker| waker.will_wake(cx.waker())) {
            core.idle.push(cx.waker().clone());
        }
        Poll::Pending
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

    /// Fills an empty tray, from the ready lanes or else from another worker's tray, and takes its first message.
    fn refill(&self, core: &mut Core<T>, worker: usize, wakers: &mut Vec<Waker>) -> Option<(LaneRef, T)> {
        {
            let mut tray = self.trays[worker].lock();
            tray.running = None;
            self.report_ended(core, &mut tray, wakers);
        }
        if !self.take_ready(core, worker) {
            self.steal(core, worker, wakers);
        }
        let next = self.trays[worker].lock().next();
        core.workers.claims(worker, next.is_some());
        next
    }

    /// Takes this worker's share of the ready lanes.
    fn take_ready(&self, core: &mut Core<T>, worker: usize) -> bool {
        let share = core.lanes.ready().div_ceil(core.workers.parallelism());
        let mut tray = self.trays[worker].lock();
        for _ in 0..share {
            let room = TRAY - tray.len();
            // A lane alone may fill the tray; lanes beside each other take turns.
            let quantum = if share == 1 { room } else { self.quantum.min(room) };
            if room == 0 || !core.lanes.take(quantum, |lane, item| tray.put(lane, item)) {
                break;
            }
        }
        !tray.is_empty()
    }

    fn steal(&self, core: &mut Core<T>, worker: usize, wakers: &mut Vec<Waker>) {
        for victim in core.workers.claimers() {
            if victim == worker {
                continue;
            }
            let mut loot = Tray::new();
            {
                let mut tray = self.trays[victim].lock();
                self.report_ended(core, &mut tray, wakers);
                tray.steal(&mut loot);
            }
            let found = if loot.is_empty() {
                self.take_ready(core, worker)
            } else {
                std::mem::swap(&mut *self.trays[worker].lock(), &mut loot);
                true
            };
            if found {
                return;
            }
        }
    }

    fn empty_tray(&self, core: &mut Core<T>, worker: usize, wakers: &mut Vec<Waker>) {
        let mut tray = self.trays[worker].lock();
        self.report_ended(core, &mut tray, wakers);
        while let Some((lane, item)) = tray.pop_back(None) {
            core.lanes.give_back(lane, item);
        }
        drop(tray);
        core.workers.claims(worker, false);
    }

    fn report_ended(&self, core: &mut Core<T>, tray: &mut Tray<T>, wakers: &mut Vec<Waker>) {
        if tray.ended.is_empty() {
            return;
        }
        for ended in tray.ended.drain(..) {
            core.lanes.finish(ended.lane, ended.messages, ended.bytes);
        }
        core.count(std::mem::take(&mut tray.counts));
        self.after_finish(core, wakers);
    }

    /// Reports what has ended in all trays; tells whether there was any.
    fn report_all(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) -> bool {
        let mut any = false;
        for worker in core.workers.claimers() {
            let mut tray = self.trays[worker].lock();
            any |= !tray.ended.is_empty();
            self.report_ended(core, &mut tray, wakers);
        }
        any
    }

    fn after_finish(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        self.wake_waiters(core, wakers);
        if !core.open && core.lanes.is_empty() {
            wakers.append(&mut core.idle);
            core.workers.wake_all(wakers);
        }
    }

    fn wake_waiters(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        if !core.waiters.is_empty() {
            let Core { waiters, lanes, .. } = core;
            let workers = self.trays.len();
            let is = |want| match want {
                Want::Room { lane, bytes } => lanes.has_headroom(lane, bytes),
                Want::Turn => !lanes.is_deep(workers, DEEP / 2),
            };
            waiters.take_ready(is, |waker| wakers.push(waker));
        }
    }

    /// Ends a critical section: what is to be said and woken happens outside of the lock.
    fn leave(&self, mut core: MutexGuard<'_, Core<T>>, wakers: Vec<Waker>) {
        let unheard = std::mem::take(&mut core.unheard);
        let lanes = core.lanes.stats();
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        if unheard != Counts::ZERO {
            self.observer.changed(unheard, lanes);
        }
    }

    fn wake_worker(&self, core: &mut Core<T>) -> Option<Waker> {
        if core.lanes.ready() > 0 { core.workers.wake_one() } else { None }
    }

    /// Wakes a worker in place of one that leaves its core without having looked for more work. Where no lane is
    /// ready there may be some in the trays of the others, and whoever holds them may compute for long.
    fn wake_successor(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        if core.lanes.ready() == 0 {
            if !core.workers.has_spare() {
                return;
            }
            self.report_all(core, wakers);
            let has_loot = |worker: &usize| self.trays[*worker].lock().has_loot();
            if core.lanes.ready() == 0 && !core.workers.claimers().iter().any(has_loot) {
                return;
            }
        }
        wakers.extend(core.workers.wake_one());
    }
}

/// What a timer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// The next parked lane is due then.
    Due(Instant),
    /// No lane is parked.
    Nothing,
    /// The scheduler is closed.
    Closed,
}
