//! Both pools as one: each hash slot belongs to one of them, and can change sides while messages flow.

use super::{LazyPool, beside::Beside};
use buslane_core::{
    BoxFuture, Job, LaneState, Latencies, Pool, PoolSide, PoolStats, RunningJob, StopReport, SubmitError, Want,
};
use buslane_lanes::{Progress, Refused, SlotCounts, Split};
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

/// The keyed pool's side.
pub(crate) const KEYED: usize = 0;
/// The actor pool's side.
pub(crate) const ACTOR: usize = 1;

/// First and longest pause between two looks whether a message that is running has ended.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Both pools.
///
/// # Drop behaviour
/// As that of the pools; what is between them is abandoned.
pub(crate) struct SplitPool {
    shared: Arc<Shared>,
    stopping: Mutex<Option<watch::Receiver<Option<StopReport>>>>,
}

struct Shared {
    split: Split<LazyPool>,
    beside: Beside,
    /// Slots have arrived somewhere.
    arrived: Notify,
    /// Jobs that were dropped between the pools.
    abandoned: AtomicU64,
    most_keys: Mutex<Option<usize>>,
}

impl SplitPool {
    /// The slots below `boundary` are the actor pool's. At most `most_held` messages wait for slots on their way.
    pub(crate) fn new(keyed: LazyPool, actor: LazyPool, boundary: usize, most_held: usize) -> Self {
        let beside = Beside::new([&keyed, &actor].map(|side| Arc::clone(&side.make)));
        let split = Split::new([keyed, actor], boundary, most_held);
        // Who has slots is ready before the first message.
        for (side, slots) in split.counts().at.into_iter().enumerate() {
            if slots > 0 {
                split.sides()[side].started();
            }
        }
        let shared =
            Shared { split, beside, arrived: Notify::new(), abandoned: AtomicU64::new(0), most_keys: Mutex::new(None) };
        Self { shared: Arc::new(shared), stopping: Mutex::new(None) }
    }

    /// From now on the slots below `boundary` belong to the actor pool. [`SplitPool::step`] moves them.
    pub(crate) fn aim(&self, boundary: usize) {
        self.shared.split.aim(boundary);
        self.shared.limit_keys();
        self.shared.arrived.notify_waiters();
    }

    /// Moves what can be moved now.
    pub(crate) fn step(&self) -> Progress {
        self.shared.step()
    }

    /// Leaves slots that wait where they are.
    pub(crate) fn give_up(&self, slots: &[usize]) {
        self.shared.split.give_up(slots);
        self.shared.arrived.notify_waiters();
    }

    /// The side that runs the messages of a key hash.
    pub(crate) fn runs_at(&self, lane: u64) -> usize {
        self.shared.split.runs_at(lane)
    }

    /// Runs a job beside the messages: by the kind of pool that does not run its key at this moment. Never waits; `false`, and the
    /// job is dropped, when there is no room, when its slot is on its way, and once this is stopped. It is in no figure of this
    /// pool.
    pub(crate) fn try_beside(&self, job: Job) -> bool {
        self.shared.split.side_of(job.lane).is_some_and(|side| self.shared.beside.try_submit(1 - side, job))
    }

    /// Whether a slot is where it belongs.
    pub(crate) fn is_at_home(&self, slot: usize) -> bool {
        self.shared.split.is_at_home(slot)
    }

    pub(crate) fn counts(&self) -> SlotCounts {
        self.shared.split.counts()
    }

    /// Figures of one side; none while it was not needed yet.
    pub(crate) fn side(&self, side: usize) -> Option<(PoolStats, Latencies)> {
        let pool = self.shared.split.sides()[side].pool.get()?;
        Some((pool.stats(), pool.latencies()))
    }
}

impl Shared {
    fn started(&self) -> impl Iterator<Item = &Arc<dyn PoolSide>> {
        self.split.sides().iter().filter_map(|side| side.pool.get())
    }

    fn step(&self) -> Progress {
        let progress = self.split.step();
        if progress.arrived > 0 {
            self.arrived.notify_waiters();
        }
        progress
    }

    /// Each side may have its share of the keys.
    fn limit_keys(&self) {
        let most = *self.most_keys.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.split.counts();
        let all: usize = counts.at.iter().sum::<usize>().max(1);
        for (side, pool) in self.split.sides().iter().enumerate() {
            if let Some(pool) = pool.pool.get() {
                pool.limit_keys(most.map(|keys| (keys * counts.at[side]).div_ceil(all).max(1)));
            }
        }
    }

    /// Waits until one side may have what is wanted, or slots have moved, or else until `timeout`. Tells whether it is worth
    /// another try.
    async fn wait(&self, side: Option<usize>, want: Want, mut timeout: Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut arrived = pin!(self.arrived.notified());
        let mut waiting = [KEYED, ACTOR].map(|at| {
            let pool = self.split.sides()[at].pool.get().filter(|_| side.is_none_or(|side| side == at))?;
            Some(Waiting { pool, ticket: None })
        });
        poll_fn(|cx| {
            if arrived.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            for Waiting { pool, ticket } in waiting.iter_mut().flatten() {
                if pool.poll_ready(cx, want, ticket).is_ready() {
                    return Poll::Ready(true);
                }
            }
            timeout.as_mut().poll(cx).map(|()| false)
        })
        .await
    }

    async fn submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        let patience = self.split.sides()[self.split.only().unwrap_or(KEYED)].wait_timeout;
        let mut timeout = pin!(sleep(patience));
        loop {
            let (side, error) = match self.split.submit(batch) {
                Ok(()) => {
                    self.wait(None, Want::Turn, timeout.as_mut()).await;
                    return Ok(());
                }
                Err(refused) => self.reason(refused),
            };
            let Some(first) = batch.front().filter(|_| error.is_temporary()) else { return Err(error) };
            let want = Want::Room { lane: first.lane, bytes: first.bytes() };
            let is_there = match side {
                Some(side) => self.wait(Some(side), want, timeout.as_mut()).await,
                None => {
                    tokio::select! {
                        () = self.arrived.notified() => true,
                        () = timeout.as_mut() => false,
                    }
                }
            };
            if !is_there {
                return Err(error);
            }
        }
    }

    /// Who did not take a job, and why.
    fn reason(&self, refused: Refused<SubmitError>) -> (Option<usize>, SubmitError) {
        match refused {
            Refused::Side(side, error) => (Some(side), error),
            Refused::Closed => (None, SubmitError::Stopped),
            Refused::Transit => {
                let stats = self.stats();
                (None, SubmitError::PoolFull { messages: stats.open - stats.parked, bytes: stats.open_bytes })
            }
        }
    }

    fn stats(&self) -> PoolStats {
        let mut sum = PoolStats::default();
        for pool in self.started() {
            add(&mut sum, pool.stats());
        }
        let held = self.split.counts().held;
        let abandoned = self.abandoned.load(Relaxed);
        // A job that has changed pools was accepted once.
        sum.accepted = (sum.accepted + held as u64 + abandoned).saturating_sub(sum.moved);
        sum.open += held;
        sum.abandoned += abandoned;
        sum
    }

    /// The split is closed. What is on its way arrives first: the pools that it goes to take it no more once they stop.
    async fn stop(&self, begun: Instant, before: PoolStats, deadline: Duration) -> StopReport {
        let until = begun + deadline;
        let mut pause = PAUSE.0;
        while self.split.counts().moving > 0 && Instant::now() < until {
            self.step();
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        let left = self.split.abandon();
        self.abandoned.fetch_add(left.len() as u64, Relaxed);
        let mut report = StopReport { abandoned: left.len() as u64, ..StopReport::default() };
        drop(left);
        let left = || until.saturating_duration_since(Instant::now());
        let mut pools = self.started();
        let (first, second) = (pools.next(), pools.next());
        let stop = async |pool: Option<&Arc<dyn PoolSide>>| match pool {
            Some(pool) => pool.stop(left()).await,
            None => StopReport::default(),
        };
        let (first, second) = tokio::join!(stop(first), stop(second));
        let ended = |stats: PoolStats| stats.ok + stats.failed + stats.panicked;
        report.finished = ended(self.stats()) - ended(before);
        for side in [first, second] {
            report.abandoned += side.abandoned;
            report.stragglers += side.stragglers;
        }
        report.elapsed = begun.elapsed();
        report
    }
}

/// Takes the waiter off the list, also when the wait is cancelled.
struct Waiting<'a> {
    pool: &'a Arc<dyn PoolSide>,
    ticket: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.pool.forget(ticket);
        }
    }
}

fn add(sum: &mut PoolStats, side: PoolStats) {
    sum.accepted += side.accepted;
    sum.ok += side.ok;
    sum.failed += side.failed;
    sum.panicked += side.panicked;
    sum.abandoned += side.abandoned;
    sum.moved += side.moved;
    sum.retried += side.retried;
    sum.panics += side.panics;
    sum.restarts += side.restarts;
    sum.open += side.open;
    sum.open_bytes += side.open_bytes;
    sum.parked += side.parked;
    sum.parked_lanes += side.parked_lanes;
    sum.blocked_lanes += side.blocked_lanes;
    sum.lanes += side.lanes;
    sum.idle_lanes += side.idle_lanes;
    sum.capacity += side.capacity;
    sum.workers += side.workers;
    sum.workers_down += side.workers_down;
}

impl Pool for SplitPool {
    /// The pool that has every slot; `split` while both have some.
    fn name(&self) -> &'static str {
        match self.shared.split.only() {
            Some(KEYED) => "keyed",
            Some(_) => "actor",
            None => "split",
        }
    }

    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.shared.split.submit(batch).map_err(|refused| self.shared.reason(refused).1)
    }

    fn submit<'a>(&'a self, batch: &'a mut VecDeque<Job>) -> BoxFuture<'a, Result<(), SubmitError>> {
        Box::pin(self.shared.submit(batch))
    }

    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.shared.beside.purge(matches);
        self.shared.split.purge(matches)
    }

    fn limit_keys(&self, most: Option<usize>) {
        *self.shared.most_keys.lock().unwrap_or_else(PoisonError::into_inner) = most;
        self.shared.limit_keys();
    }

    fn lane(&self, lane: u64) -> Option<LaneState> {
        let sides = self.shared.split.sides();
        match self.shared.split.side_of(lane) {
            Some(side) => sides[side].pool.get()?.lane(lane),
            None => self.shared.started().find_map(|pool| pool.lane(lane)),
        }
    }

    fn running(&self) -> Vec<RunningJob> {
        let mut running = Vec::new();
        let mut workers = 0;
        for pool in self.shared.started() {
            running.extend(pool.running().into_iter().map(|job| RunningJob { worker: job.worker + workers, ..job }));
            workers += pool.stats().workers;
        }
        running
    }

    fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport> {
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = stopping
            .get_or_insert_with(|| {
                let (done, answer) = watch::channel(None);
                let shared = Arc::clone(&self.shared);
                let (begun, before) = (Instant::now(), shared.stats());
                shared.split.close();
                if shared.split.counts().moving == 0 {
                    // Nothing has to arrive first: from here on no retry begins.
                    for pool in shared.started() {
                        drop(pool.stop(deadline));
                    }
                }
                shared.arrived.notify_waiters();
                // In a task of its own, so that a caller who gives up does not leave the pools half stopped.
                tokio::spawn(async move {
                    let stopped = shared.stop(begun, before, deadline);
                    let (report, ()) = tokio::join!(stopped, shared.beside.stop());
                    done.send(Some(report))
                });
                answer
            })
            .clone();
        Box::pin(
            async move { answer.wait_for(Option::is_some).await.ok().and_then(|report| *report).unwrap_or_default() },
        )
    }
}
