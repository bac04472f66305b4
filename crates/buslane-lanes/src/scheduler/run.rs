//! What a worker does next: its tray, the ready lanes, the trays of others.

use super::{Core, Item, Next, Scheduler, workers::Phase};
use crate::{
    lanes::LaneRef,
    tray::{Ended, Tray},
};
use std::task::{Context, Poll, Waker};

impl<T: Item> Scheduler<T> {
    /// What `worker` does next, after the message in `ended`; pending while there is nothing to do.
    pub fn poll_next(
        &self,
        worker: usize,
        cx: &Context<'_>,
        ended: &mut Option<Ended>,
    ) -> Poll<Next<T>> {
        {
            let mut tray = self.trays[worker].lock();
            if let Some(ended) = ended.take() {
                tray.end(ended);
            }
            if let Some((lane, item)) = next_of(&mut tray) {
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

    /// Says that `worker` waits for its running message: gives everything else it holds back, and
    /// lets another worker go on.
    pub fn suspend(&self, worker: usize) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.empty_tray(&mut core, worker, &mut wakers);
        core.workers.set(worker, Phase::Waiting);
        core.workers.has_waited(worker);
        self.rouse_worker(&mut core, &mut wakers);
        self.wake_waiters(&mut core, &mut wakers);
        self.leave(core, wakers);
    }

    /// Takes `worker` out: what it holds goes back to the lanes, and `running` has ended without
    /// its doing.
    pub fn retire(&self, worker: usize, running: Option<Ended>) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if let Some(ended) = running {
            self.trays[worker].lock().end(ended);
        }
        self.empty_tray(&mut core, worker, &mut wakers);
        core.workers.set(worker, Phase::Gone);
        self.rouse_worker(&mut core, &mut wakers);
        self.leave(core, wakers);
    }

    /// Says what has ended of what `worker` has taken, without taking more.
    pub fn report(&self, worker: usize) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.report_ended(&mut core, &mut self.trays[worker].lock(), &mut wakers);
        wakers.extend(self.wake_worker(&mut core));
        self.leave(core, wakers);
    }

    /// Fills an empty tray, from the ready lanes or else from another worker's tray, and takes its
    /// first message. A worker that others keep from a core takes nothing: in its tray lanes would
    /// only wait for its turn.
    fn refill(
        &self,
        core: &mut Core<T>,
        worker: usize,
        wakers: &mut Vec<Waker>,
    ) -> Option<(LaneRef, T)> {
        {
            let mut tray = self.trays[worker].lock();
            tray.running = None;
            self.report_ended(core, &mut tray, wakers);
        }
        if core.workers.are_crowded() {
            core.workers.claims(worker, false);
            return None;
        }
        let appetite = core.workers.appetite(worker);
        if !self.take_ready(core, worker, appetite) {
            self.steal(core, worker, wakers);
        }
        let next = next_of(&mut self.trays[worker].lock());
        core.workers.claims(worker, next.is_some());
        next
    }

    /// Takes this worker's share of the ready lanes, and so many messages at most.
    fn take_ready(&self, core: &mut Core<T>, worker: usize, most: usize) -> bool {
        let share = core.lanes.ready().div_ceil(core.workers.parallelism());
        let mut tray = self.trays[worker].lock();
        for _ in 0..share {
            let room = most - tray.len();
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
                self.take_ready(core, worker, 1)
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
}

/// Takes the next message of a tray, and notes whose it is.
fn next_of<T: Item>(tray: &mut Tray<T>) -> Option<(LaneRef, T)> {
    let next = tray.next()?;
    tray.running_key = next.1.lane();
    Some(next)
}
