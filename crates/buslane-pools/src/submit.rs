//! How jobs get into an engine, and the one place where their submitters wait for capacity.

use crate::Engine;
use buslane_core::{Job, SubmitError};
use buslane_lanes::{Refusal, WaitFor};
use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::Ordering::Relaxed,
    task::Poll,
    time::Instant,
};
use tokio::sync::{Notify, futures::Notified};

/// What takes jobs: one engine, or two that share the keys.
pub(crate) trait Target {
    /// Takes jobs from the front of `batch` while there is room. Returns whether it makes sense to
    /// submit more.
    fn take(&self, batch: &mut VecDeque<Job>) -> Result<bool, Refused>;

    /// The engines that jobs are submitted to.
    fn engines(&self) -> [Option<&Engine>; 2];

    /// Notified when slots have migrated, which lets in what waited for that.
    fn arrived(&self) -> Option<&Notify>;
}

/// Why the job at the front of a batch was not taken, and which engine refused it; `None` where
/// engines are not asked, because its slot migrates or nothing is taken any more.
pub(crate) struct Refused {
    pub(crate) by: Option<usize>,
    pub(crate) error: SubmitError,
}

/// Takes jobs from the front of `batch`, and waits for room until `timeout`. After all are taken it
/// waits as well, while more work would only lie in front of busy workers.
///
/// # Cancel safety
/// Cancelling leaves the jobs that were not taken in `batch`.
pub(crate) async fn submit(
    target: &impl Target,
    batch: &mut VecDeque<Job>,
    timeout: impl Future<Output = ()>,
) -> Result<(), SubmitError> {
    let mut timeout = pin!(timeout);
    // Created before the jobs are refused, so that a slot that arrives in between is noticed.
    let mut arrived = pin!(target.arrived().map(Notify::notified));
    loop {
        let refused = match target.take(batch) {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let engines = target.engines();
                wait(WaitFor::Drain, engines, arrived.as_mut(), timeout.as_mut()).await;
                return Ok(());
            }
            Err(refused) => refused,
        };
        let Some(first) = batch.front().filter(|_| refused.error.is_temporary()) else {
            return Err(refused.error);
        };
        let room = WaitFor::Room { lane: first.lane, bytes: first.bytes() };
        let mut engines = target.engines();
        for (index, engine) in engines.iter_mut().enumerate() {
            if refused.by != Some(index) {
                *engine = None;
            }
        }
        if !wait(room, engines, arrived.as_mut(), timeout.as_mut()).await {
            return Err(refused.error);
        }
        arrived.set(target.arrived().map(Notify::notified));
    }
}

/// Waits until one of the engines may have the capacity, or slots have arrived, or else until
/// `timeout`. Returns whether another try is worth it.
async fn wait(
    want: WaitFor,
    engines: [Option<&Engine>; 2],
    mut arrived: Pin<&mut Option<Notified<'_>>>,
    mut timeout: Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let mut waiters = engines.map(|engine| engine.map(|engine| Waiter { engine, ticket: None }));
    poll_fn(|cx| {
        if let Some(arrived) = arrived.as_mut().as_pin_mut()
            && arrived.poll(cx).is_ready()
        {
            return Poll::Ready(true);
        }
        for Waiter { engine, ticket } in waiters.iter_mut().flatten() {
            if engine.scheduler.poll_capacity(cx, want, ticket).is_ready() {
                return Poll::Ready(true);
            }
        }
        timeout.as_mut().poll(cx).map(|()| false)
    })
    .await
}

/// Takes the waiter off the list, also when the wait is cancelled.
struct Waiter<'a> {
    engine: &'a Engine,
    ticket: Option<u64>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.engine.scheduler.forget(ticket);
        }
    }
}

/// Stamps the jobs with the time of their acceptance, and cuts off the first one that has no
/// handler, with everything behind it.
pub(crate) fn stamp(batch: &mut VecDeque<Job>, has_default: bool) -> VecDeque<Job> {
    let now = Instant::now();
    for (at, job) in batch.iter_mut().enumerate() {
        if job.handler.is_none() && !has_default {
            return batch.split_off(at);
        }
        job.accepted = Some(now);
    }
    VecDeque::new()
}

impl Target for Engine {
    fn take(&self, batch: &mut VecDeque<Job>) -> Result<bool, Refused> {
        self.try_submit(batch).map_err(|error| Refused { by: Some(0), error })
    }

    fn engines(&self) -> [Option<&Engine>; 2] {
        [Some(self), None]
    }

    fn arrived(&self) -> Option<&Notify> {
        None
    }
}

impl Engine {
    /// As [`Engine::try_submit`], waiting for room until `timeout` is ready. After it has taken all
    /// jobs it waits as well, while more work would only lie in front of busy workers.
    ///
    /// # Errors
    /// Why the job now at the front was not taken.
    ///
    /// # Cancel safety
    /// Cancelling leaves the jobs that were not taken in `batch`.
    pub async fn submit(
        &self,
        batch: &mut VecDeque<Job>,
        timeout: impl Future<Output = ()>,
    ) -> Result<(), SubmitError> {
        submit(self, batch, timeout).await
    }

    /// Takes jobs from the front of `batch` while there is room; never waits. Returns whether it
    /// makes sense to submit more.
    ///
    /// # Errors
    /// Why the job now at the front was not taken.
    pub fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<bool, SubmitError> {
        let mut orphans = stamp(batch, self.default_handler.is_some());
        let taken = self.scheduler.submit_as(batch, self.boxes.packer(self.now()));
        let left = batch.len();
        batch.append(&mut orphans);
        match taken {
            Err(refusal) => Err(self.error(refusal, left)),
            Ok(_) if !batch.is_empty() => Err(self.no_handler()),
            Ok(makes_sense) => Ok(makes_sense),
        }
    }

    /// Counts a job without a handler as refused.
    pub(crate) fn no_handler(&self) -> SubmitError {
        self.report.refused(1);
        SubmitError::NoHandler
    }

    /// The error for a batch of which `left` jobs were refused.
    pub(crate) fn error(&self, refusal: Refusal, left: usize) -> SubmitError {
        match refusal {
            Refusal::LaneFull => SubmitError::LaneFull { limit: self.bounds.lane_messages },
            Refusal::Full => {
                let (lanes, _) = self.scheduler.stats();
                SubmitError::PoolFull {
                    messages: lanes.open - lanes.parked,
                    bytes: lanes.open_bytes,
                }
            }
            Refusal::KeysFull => SubmitError::KeysFull { keys: self.most_keys.load(Relaxed) },
            Refusal::ParkedFull => {
                SubmitError::ParkedFull { messages: self.scheduler.stats().0.parked }
            }
            Refusal::Closed => {
                self.report.refused(left as u64);
                SubmitError::Stopped
            }
        }
    }
}
