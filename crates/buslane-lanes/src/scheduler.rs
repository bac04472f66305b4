//! Lanes shared between workers: who runs what, who sleeps, who is woken.
//!
//! State and owner: the lanes, the list of idle workers and the count of busy ones live behind one
//! lock, `core`. Each worker's tray has a lock of its own. Order of locks: `core`, then a tray;
//! never the other way round, and never two trays. Nothing is woken and nothing is dropped under a
//! lock.
//!
//! What keeps it live: while a worker sleeps and fewer are busy than there are cores, no lane is
//! ready, and no tray holds a message of a lane other than the one its owner is running. Therefore
//! - a worker goes idle only after it has looked, under the core lock, for a ready lane and through
//!   all trays, or while every core has another busy one, which looks when it is done;
//! - whoever makes a lane ready wakes a worker;
//! - whoever leaves a core free otherwise, because its handler waits or it goes, looks through the
//!   trays as well.

mod end;
mod moving;
mod retry;
mod run;
mod submit;
mod workers;

use crate::{
    bounds::Bounds,
    count::{Counts, Observer},
    lanes::{LaneKind, LaneRef, LaneStats, Lanes},
    sync::{Mutex, MutexGuard},
    tray::Tray,
    waiters::Waiters,
};
use buslane_core::LaneState;
use std::task::Waker;
use workers::Workers;

pub use retry::Tick;

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

    fn abandoned(&mut self, messages: usize) {
        self.count(Counts { abandoned: messages as u64, ..Counts::ZERO });
    }
}

/// Lanes shared between a fixed number of workers.
pub struct Scheduler<T> {
    core: Mutex<Core<T>>,
    trays: Box<[Mutex<Tray<T>>]>,
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
        let trays = (0..workers).map(|_| Mutex::new(Tray::new())).collect();
        Self {
            core: Mutex::new(core),
            trays,
            mode,
            quantum: quantum.clamp(1, workers::TRAY),
            observer: Box::new(observer),
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
    /// tray behind a handler that computes.
    fn rouse_worker(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        if !core.workers.has_spare() {
            return;
        }
        let mut hidden = false;
        if core.lanes.ready() == 0 {
            for worker in core.workers.claimers() {
                let mut tray = self.trays[worker].lock();
                self.report_ended(core, &mut tray, wakers);
                hidden |= tray.has_loot();
            }
        }
        if hidden || core.lanes.ready() > 0 {
            wakers.extend(core.workers.wake_one());
        }
    }
}
