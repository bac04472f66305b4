//! The way of submitted messages: workers run them, failed ones wait for a retry, and a purge, a
//! migration or a shutdown takes some out again.

use super::{Core, Item, Next, Scheduler, workers::WorkerPhase};
use crate::{
    count::Counts,
    lanes::{LaneRef, Moved},
    local_queue::{Ended, LocalQueue},
};
use std::{
    task::{Context, Poll, Waker},
    time::Instant,
};

/// The time that the timer task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// A deferred lane or an idle one is due at this time.
    Due(Instant),
    /// No lane is deferred or idle.
    Nothing,
    /// The scheduler is closed.
    Closed,
}

/// The messages that were taken out of a scheduler on their way to another one.
#[derive(Debug)]
pub struct Taken<T> {
    /// Messages that have not begun or wait for a retry, in order per lane.
    pub moved: Vec<Moved<T>>,
    /// The requested key hashes with a running message, which stays. It may wait for a retry when
    /// its attempt ends.
    pub running: Vec<u64>,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        Self { moved: Vec::new(), running: Vec::new() }
    }
}

impl<T: Item> Scheduler<T> {
    /// Reports the message in `ended`, and returns the next task of `worker`. Pending while there
    /// is no work.
    pub fn poll_next(
        &self,
        worker: usize,
        cx: &Context<'_>,
        ended: &mut Option<Ended>,
    ) -> Poll<Next<T>> {
        {
            let mut queue = self.queues[worker].lock();
            if let Some(ended) = ended.take() {
                queue.end(ended);
            }
            if let Some((lane, item)) = next_of(&mut queue) {
                return Poll::Ready(Next::Run { lane, item, first: false, yield_first: false });
            }
        }
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        core.workers.set(worker, WorkerPhase::Busy);
        let next = match self.refill(&mut core, worker, &mut wakers) {
            Some((lane, item)) => {
                wakers.extend(self.wake_worker(&mut core));
                Poll::Ready(Next::Run { lane, item, first: true, yield_first: !wakers.is_empty() })
            }
            None if !core.open && core.lanes.is_empty() => {
                core.workers.set(worker, WorkerPhase::Gone);
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

    /// Records that the handler of `worker` waits: returns the other messages of the worker to
    /// their lanes, and lets another worker run.
    pub fn suspend(&self, worker: usize) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.return_messages(&mut core, worker, &mut wakers);
        core.workers.set(worker, WorkerPhase::Waiting);
        core.workers.has_waited(worker);
        self.rouse_worker(&mut core, &mut wakers);
        self.wake_waiters(&mut core, &mut wakers);
        self.leave(core, wakers);
    }

    /// Removes `worker`: returns its messages to their lanes, and records the end of `running`,
    /// which was cut off.
    pub fn retire(&self, worker: usize, running: Option<Ended>) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if let Some(ended) = running {
            self.queues[worker].lock().end(ended);
        }
        self.return_messages(&mut core, worker, &mut wakers);
        core.workers.set(worker, WorkerPhase::Gone);
        self.rouse_worker(&mut core, &mut wakers);
        self.leave(core, wakers);
    }

    /// Reports the ended messages of `worker`, without taking more.
    pub fn report(&self, worker: usize) {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        self.report_ended(&mut core, &mut self.queues[worker].lock(), &mut wakers);
        wakers.extend(self.wake_worker(&mut core));
        self.leave(core, wakers);
    }

    /// Fills an empty queue, from the ready lanes or else from another worker's queue, and takes
    /// its first message. A worker without a free core takes none, because lanes in its queue would
    /// only wait for its turn.
    fn refill(
        &self,
        core: &mut Core<T>,
        worker: usize,
        wakers: &mut Vec<Waker>,
    ) -> Option<(LaneRef, T)> {
        {
            let mut queue = self.queues[worker].lock();
            queue.running = None;
            self.report_ended(core, &mut queue, wakers);
        }
        if core.workers.are_crowded() {
            core.workers.claims(worker, false);
            return None;
        }
        let appetite = core.workers.appetite(worker);
        if !self.take_ready(core, worker, appetite) {
            self.steal(core, worker, wakers);
        }
        let next = next_of(&mut self.queues[worker].lock());
        core.workers.claims(worker, next.is_some());
        next
    }

    /// Takes the worker's share of the ready lanes, but at most `most` messages.
    fn take_ready(&self, core: &mut Core<T>, worker: usize, most: usize) -> bool {
        let share = core.lanes.ready().div_ceil(core.workers.parallelism());
        let mut queue = self.queues[worker].lock();
        for _ in 0..share {
            let room = most - queue.len();
            // A single lane may fill the queue; several lanes take turns.
            let quantum = if share == 1 { room } else { self.quantum.min(room) };
            if room == 0 || !core.lanes.take(quantum, |lane, item| queue.put(lane, item)) {
                break;
            }
        }
        !queue.is_empty()
    }

    fn steal(&self, core: &mut Core<T>, worker: usize, wakers: &mut Vec<Waker>) {
        for victim in core.workers.claimers() {
            if victim == worker {
                continue;
            }
            let mut stolen = LocalQueue::new();
            {
                let mut queue = self.queues[victim].lock();
                self.report_ended(core, &mut queue, wakers);
                queue.steal_into(&mut stolen);
            }
            let found = if stolen.is_empty() {
                self.take_ready(core, worker, 1)
            } else {
                std::mem::swap(&mut *self.queues[worker].lock(), &mut stolen);
                true
            };
            if found {
                return;
            }
        }
    }

    fn return_messages(&self, core: &mut Core<T>, worker: usize, wakers: &mut Vec<Waker>) {
        let mut queue = self.queues[worker].lock();
        self.report_ended(core, &mut queue, wakers);
        while let Some((lane, item)) = queue.pop_back(None) {
            core.lanes.give_back(lane, item);
        }
        drop(queue);
        core.workers.claims(worker, false);
    }

    /// Puts the running message back to the front of its lane, and defers the lane until `until`. A
    /// closed scheduler runs no retries: it abandons the message instead, and with it the messages
    /// behind it, which would overtake it. Only with `is_retry` the attempt counts as retried.
    /// Returns whether to yield before the next message, as [`Next::Run`] does.
    ///
    /// [`Next::Run`]: crate::Next::Run
    pub fn defer(
        &self,
        worker: usize,
        lane: LaneRef,
        item: T,
        until: Instant,
        blocked: bool,
        is_retry: bool,
    ) -> bool {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        let sooner = core.lanes.next_due().is_none_or(|due| until < due);
        {
            let mut queue = self.queues[worker].lock();
            queue.running = None;
            let mut behind = Vec::new();
            while let Some(item) = queue.pop_front_of(lane) {
                behind.push(item);
            }
            self.report_ended(&mut core, &mut queue, &mut wakers);
            drop(queue);
            for item in behind.into_iter().rev() {
                core.lanes.give_back(lane, item);
            }
        }
        let mut gone = Vec::new();
        if core.open {
            core.lanes.defer(lane, item, until, blocked);
            core.count(Counts { retried: is_retry.into(), ..Counts::ZERO });
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

    /// Makes due deferred lanes ready, forgets lanes that were idle for too long, and returns when
    /// to call it again. Wakes `cx` when an earlier time becomes due, or when the scheduler closes.
    pub fn tick(&self, cx: &Context<'_>, now: Instant) -> Tick {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if !core.open {
            return Tick::Closed;
        }
        for _ in 0..core.lanes.wake_due(now) {
            wakers.extend(self.wake_worker(&mut core));
        }
        let idle = core.lanes.stats().idle_lanes;
        let swept = core.lanes.sweep(now);
        core.has_news |= core.lanes.stats().idle_lanes != idle;
        core.timer = Some(cx.waker().clone());
        let due = [core.lanes.next_due(), swept].into_iter().flatten().min();
        let tick = due.map_or(Tick::Nothing, Tick::Due);
        self.leave(core, wakers);
        tick
    }

    /// Takes out every message whose key hash satisfies `matches` and that is not running.
    ///
    /// If no message of these keys is submitted meanwhile, none of them begins here afterwards: a
    /// running message can only end or wait for a retry.
    pub fn take(&self, matches: &dyn Fn(u64) -> bool) -> Taken<T> {
        let (mut taken, mut wakers) = (Taken::default(), Vec::new());
        let mut core = self.core.lock();
        for queue in &self.queues {
            let mut queue = queue.lock();
            self.report_ended(&mut core, &mut queue, &mut wakers);
            if queue.running.is_some() && matches(queue.running_key) {
                taken.running.push(queue.running_key);
            }
            let mut waiting = Vec::new();
            queue
                .extract(&|item: &T| matches(item.lane()), |lane, item| waiting.push((lane, item)));
            drop(queue);
            for (lane, item) in waiting.into_iter().rev() {
                core.lanes.give_back(lane, item);
            }
        }
        core.lanes.extract(&|item| matches(item.lane()), &|item| item.bytes(), &mut |moved| {
            taken.moved.push(moved)
        });
        core.count(Counts { moved: taken.moved.len() as u64, ..Counts::ZERO });
        self.after_finish(&mut core, &mut wakers);
        self.rouse_worker(&mut core, &mut wakers);
        self.leave(core, wakers);
        taken
    }

    /// Adds messages of another scheduler, even beyond the bounds. A closed scheduler returns them,
    /// for the caller to drop.
    pub fn put(&self, messages: Vec<Moved<T>>) -> Vec<Moved<T>> {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if !core.open {
            return messages;
        }
        core.count(Counts { accepted: messages.len() as u64, ..Counts::ZERO });
        for moved in messages {
            let item = &moved.item;
            core.lanes.adopt(
                self.mode.lane(item.lane()),
                self.mode.kind(item),
                item.bytes(),
                moved,
            );
        }
        // One of them may be due before the time that the timer waits for.
        wakers.extend(core.timer.take());
        self.rouse_worker(&mut core, &mut wakers);
        self.leave(core, wakers);
        Vec::new()
    }

    /// Removes every message that satisfies `matches` and is not running, and returns them for the
    /// caller to drop.
    pub fn purge(&self, matches: &dyn Fn(&T) -> bool) -> Vec<T> {
        let (mut gone, mut wakers) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        for worker in core.workers.claimers() {
            let mut queue = self.queues[worker].lock();
            self.report_ended(&mut core, &mut queue, &mut wakers);
            let mut taken = Vec::new();
            queue.extract(matches, |lane, item| taken.push((lane, item)));
            drop(queue);
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

    /// Refuses messages from now on, and returns those of deferred lanes for the caller to drop: a
    /// closed scheduler runs no retries.
    pub fn close(&self) -> Vec<T> {
        let (mut gone, mut wakers) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        core.open = false;
        core.lanes.keep_none();
        core.has_news = true;
        core.lanes.purge_deferred(&|item| item.bytes(), &mut |item| gone.push(item));
        core.abandoned(gone.len());
        core.waiters.take_all(|waker| wakers.push(waker));
        wakers.extend(core.timer.take());
        self.after_finish(&mut core, &mut wakers);
        self.leave(core, wakers);
        gone
    }

    /// Whether the scheduler accepts messages.
    pub fn is_open(&self) -> bool {
        self.core.lock().open
    }

    /// Completes when the scheduler is closed and no message is open.
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
}

/// Takes the next message of a queue, and records its key.
fn next_of<T: Item>(queue: &mut LocalQueue<T>) -> Option<(LaneRef, T)> {
    let next = queue.next()?;
    queue.running_key = next.1.lane();
    Some(next)
}
