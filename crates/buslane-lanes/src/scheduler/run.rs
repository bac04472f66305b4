//! What becomes of submitted messages: workers run them, failed ones wait for a retry, and some are
//! taken out again.

use super::{Core, Item, Next, Scheduler, workers::Phase};
use crate::{
    count::Counts,
    lanes::{LaneRef, Moved},
    local_queue::{Ended, LocalQueue},
};
use std::{
    task::{Context, Poll, Waker},
    time::Instant,
};

/// What a timer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// The next parked lane is due then, or idle ones are.
    Due(Instant),
    /// No lane is parked, and none is idle.
    Nothing,
    /// The scheduler is closed.
    Closed,
}

/// Messages that were taken out of a scheduler for another one to run.
#[derive(Debug)]
pub struct Taken<T> {
    /// Messages that had not begun, or wait for a retry: those of one lane in their order.
    pub moved: Vec<Moved<T>>,
    /// Requested key hashes of which a message is running. That message stays; it may wait for a
    /// retry when it ends.
    pub running: Vec<u64>,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        Self { moved: Vec::new(), running: Vec::new() }
    }
}

impl<T: Item> Scheduler<T> {
    /// What `worker` does next, after the message in `ended`; pending while there is nothing to do.
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
            self.queues[worker].lock().end(ended);
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
        self.report_ended(&mut core, &mut self.queues[worker].lock(), &mut wakers);
        wakers.extend(self.wake_worker(&mut core));
        self.leave(core, wakers);
    }

    /// Fills an empty queue, from the ready lanes or else from another worker's queue, and takes
    /// its first message. A worker that others keep from a core takes nothing: in its queue lanes
    /// would only wait for its turn.
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

    /// Takes this worker's share of the ready lanes, and so many messages at most.
    fn take_ready(&self, core: &mut Core<T>, worker: usize, most: usize) -> bool {
        let share = core.lanes.ready().div_ceil(core.workers.parallelism());
        let mut queue = self.queues[worker].lock();
        for _ in 0..share {
            let room = most - queue.len();
            // A lane alone may fill the queue; lanes beside each other take turns.
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
            let mut loot = LocalQueue::new();
            {
                let mut queue = self.queues[victim].lock();
                self.report_ended(core, &mut queue, wakers);
                queue.steal(&mut loot);
            }
            let found = if loot.is_empty() {
                self.take_ready(core, worker, 1)
            } else {
                std::mem::swap(&mut *self.queues[worker].lock(), &mut loot);
                true
            };
            if found {
                return;
            }
        }
    }

    fn empty_tray(&self, core: &mut Core<T>, worker: usize, wakers: &mut Vec<Waker>) {
        let mut queue = self.queues[worker].lock();
        self.report_ended(core, &mut queue, wakers);
        while let Some((lane, item)) = queue.pop_back(None) {
            core.lanes.give_back(lane, item);
        }
        drop(queue);
        core.workers.claims(worker, false);
    }

    /// Puts the running message back to the front of its lane, and lets the lane wait until
    /// `until`. While the scheduler closes nobody waits for a retry: the message is abandoned
    /// instead, and with it what stands behind it and would overtake it. What is no retry waits
    /// alike, and is not counted as one. Tells whether to yield before the next message, as
    /// [`Next::Run`] does.
    ///
    /// [`Next::Run`]: crate::Next::Run
    pub fn park(
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
            core.lanes.park(lane, item, until, blocked);
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

    /// Makes the parked lanes ready whose time has come, forgets the idle ones whose time is over,
    /// and returns when to ask again. Wakes `cx` when that comes to be earlier, or the scheduler
    /// closes.
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

    /// Takes out every message whose key hash `matches` and that is not running.
    ///
    /// When nothing of these keys is submitted meanwhile, what is not running now does not run here
    /// again: it is out, and what is running can but end or wait for a retry.
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

    /// Takes messages over, whatever the bounds say. Returns those that a closed scheduler does not
    /// take, for the caller to drop.
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
        // Some of them may be due before what it waits for.
        wakers.extend(core.timer.take());
        self.rouse_worker(&mut core, &mut wakers);
        self.leave(core, wakers);
        Vec::new()
    }

    /// Removes every message that `matches` and is not running, and returns them for the caller to
    /// drop.
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

    /// Takes no more messages, and returns those of parked lanes for the caller to drop: nobody
    /// waits for a retry now.
    pub fn close(&self) -> Vec<T> {
        let (mut gone, mut wakers) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        core.open = false;
        core.lanes.keep_none();
        core.has_news = true;
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
}

/// Takes the next message of a queue, and notes whose it is.
fn next_of<T: Item>(queue: &mut LocalQueue<T>) -> Option<(LaneRef, T)> {
    let next = queue.next()?;
    queue.running_key = next.1.lane();
    Some(next)
}
