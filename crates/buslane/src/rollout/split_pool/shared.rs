//! What both pools do together, for callers and for the task that stops them.

use super::{ACTOR, KEYED};
use crate::rollout::{LazyPool, beside::Beside};
use buslane_core::{Job, PoolSide, PoolStats, StopReport, SubmitError, Want};
use buslane_lanes::{Progress, Refused, Split};
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
    sync::Notify,
    time::{Instant, sleep},
};

/// First and longest pause between two looks whether a message that is running has ended.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

pub(super) struct Shared {
    pub(super) split: Split<LazyPool>,
    pub(super) beside: Beside,
    /// Slots have arrived somewhere.
    pub(super) arrived: Notify,
    /// Jobs that were dropped between the pools.
    abandoned: AtomicU64,
    pub(super) most_keys: Mutex<Option<usize>>,
}

impl Shared {
    pub(super) const fn new(split: Split<LazyPool>, beside: Beside) -> Self {
        Self {
            split,
            beside,
            arrived: Notify::const_new(),
            abandoned: AtomicU64::new(0),
            most_keys: Mutex::new(None),
        }
    }

    pub(super) fn started(&self) -> impl Iterator<Item = &Arc<dyn PoolSide>> {
        self.split.sides().iter().filter_map(|side| side.pool.get())
    }

    pub(super) fn step(&self) -> Progress {
        let progress = self.split.step();
        if progress.arrived > 0 {
            self.arrived.notify_waiters();
        }
        progress
    }

    /// Each side may have its share of the keys.
    pub(super) fn limit_keys(&self) {
        let most = *self.most_keys.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.split.counts();
        let all: usize = counts.at.iter().sum::<usize>().max(1);
        for (side, pool) in self.split.sides().iter().enumerate() {
            if let Some(pool) = pool.pool.get() {
                pool.limit_keys(most.map(|keys| (keys * counts.at[side]).div_ceil(all).max(1)));
            }
        }
    }

    /// Waits until one side may have what is wanted, or slots have moved, or else until `timeout`.
    /// Tells whether it is worth another try.
    async fn wait(
        &self,
        side: Option<usize>,
        want: Want,
        mut timeout: Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        let mut arrived = pin!(self.arrived.notified());
        let mut waiting = [KEYED, ACTOR].map(|at| {
            let pool =
                self.split.sides()[at].pool.get().filter(|_| side.is_none_or(|side| side == at))?;
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

    pub(super) async fn submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
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
            let Some(first) = batch.front().filter(|_| error.is_temporary()) else {
                return Err(error);
            };
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
    pub(super) fn reason(&self, refused: Refused<SubmitError>) -> (Option<usize>, SubmitError) {
        match refused {
            Refused::Side(side, error) => (Some(side), error),
            Refused::Closed => (None, SubmitError::Stopped),
            Refused::Transit => {
                let stats = self.stats();
                (
                    None,
                    SubmitError::PoolFull {
                        messages: stats.open - stats.parked,
                        bytes: stats.open_bytes,
                    },
                )
            }
        }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let mut sum = PoolStats::default();
        for pool in self.started() {
            sum += pool.stats();
        }
        let held = self.split.counts().held;
        let abandoned = self.abandoned.load(Relaxed);
        // A job that has changed pools was accepted once.
        sum.accepted = (sum.accepted + held as u64 + abandoned).saturating_sub(sum.moved);
        sum.open += held;
        sum.abandoned += abandoned;
        sum
    }

    /// The split is closed. What is on its way arrives first: the pools that it goes to take it no
    /// more once they stop.
    pub(super) async fn stop(
        &self,
        begun: Instant,
        before: PoolStats,
        deadline: Duration,
    ) -> StopReport {
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
