//! Submits jobs to an engine or to two of them: the one place where submitters wait for capacity.

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

/// The target of a submit: one engine, or two that share the keys.
pub(crate) trait Target {
    /// Takes jobs from the front of `batch` while there is room. Returns whether more jobs should
    /// be submitted now.
    fn take(&self, batch: &mut VecDeque<Job>) -> Result<bool, SubmitRefusal>;

    /// The engines that may take the jobs.
    fn engines(&self) -> [Option<&Engine>; 2];

    /// Notified when slots have arrived, which makes room for jobs of migrating slots.
    fn arrived(&self) -> Option<&Notify>;
}

/// Why the job at the front of a batch was refused, and by which engine. `by` is `None` if no
/// engine was asked, because the slot of the job migrates or the pools are closed.
pub(crate) struct SubmitRefusal {
    pub(crate) by: Option<usize>,
    pub(crate) error: SubmitError,
}

/// Submits the jobs of `batch`, and waits for room until `timeout`. After the last job it also
/// waits while further jobs would only queue in front of busy workers.
///
/// # Cancel safety
/// Cancelling leaves the jobs that were not accepted in `batch`.
pub(crate) async fn submit(
    target: &impl Target,
    batch: &mut VecDeque<Job>,
    timeout: impl Future<Output = ()>,
) -> Result<(), SubmitError> {
    let mut timeout = pin!(timeout);
    // Registered before a job is refused, so that no arrival in between is missed.
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

/// Waits until one of the engines may have the capacity, slots have arrived, or `timeout`
/// completes. Returns whether to try again.
async fn wait(
    want: WaitFor,
    engines: [Option<&Engine>; 2],
    mut arrived: Pin<&mut Option<Notified<'_>>>,
    mut timeout: Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let mut waiters =
        engines.map(|engine| engine.map(|engine| WaitTicket { engine, ticket: None }));
    poll_fn(|cx| {
        if let Some(arrived) = arrived.as_mut().as_pin_mut()
            && arrived.poll(cx).is_ready()
        {
            return Poll::Ready(true);
        }
        for WaitTicket { engine, ticket } in waiters.iter_mut().flatten() {
            if engine.scheduler.poll_capacity(cx, want, ticket).is_ready() {
                return Poll::Ready(true);
            }
        }
        timeout.as_mut().poll(cx).map(|()| false)
    })
    .await
}

/// Removes the waiter from the list when it is dropped, even if the wait is cancelled.
struct WaitTicket<'a> {
    engine: &'a Engine,
    ticket: Option<u64>,
}

impl Drop for WaitTicket<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.engine.scheduler.forget(ticket);
        }
    }
}

/// Sets the time of acceptance of the jobs. Splits the batch before the first job without a
/// handler, and returns the rest.
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
    fn take(&self, batch: &mut VecDeque<Job>) -> Result<bool, SubmitRefusal> {
        self.try_submit(batch).map_err(|error| SubmitRefusal { by: Some(0), error })
    }

    fn engines(&self) -> [Option<&Engine>; 2] {
        [Some(self), None]
    }

    fn arrived(&self) -> Option<&Notify> {
        None
    }
}

impl Engine {
    /// As [`Engine::try_submit`], but waits for room until `timeout` completes. After the last job
    /// it also waits while further jobs would only queue in front of busy workers.
    ///
    /// # Errors
    /// Why the job that is now at the front was refused.
    ///
    /// # Cancel safety
    /// Cancelling leaves the jobs that were not accepted in `batch`.
    pub async fn submit(
        &self,
        batch: &mut VecDeque<Job>,
        timeout: impl Future<Output = ()>,
    ) -> Result<(), SubmitError> {
        submit(self, batch, timeout).await
    }

    /// Takes jobs from the front of `batch` while there is room. Never waits. Returns whether more
    /// jobs should be submitted now.
    ///
    /// # Errors
    /// Why the job that is now at the front was refused.
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

    /// The error of a batch of which `left` jobs were refused.
    pub(crate) fn error(&self, refusal: Refusal, left: usize) -> SubmitError {
        match refusal {
            Refusal::LaneFull => SubmitError::LaneFull { limit: self.bounds.lane_messages },
            Refusal::Full => {
                let (lanes, _) = self.scheduler.stats();
                SubmitError::PoolFull {
                    messages: lanes.open - lanes.failing,
                    bytes: lanes.open_bytes,
                }
            }
            Refusal::KeysFull => SubmitError::KeysFull { keys: self.most_keys.load(Relaxed) },
            Refusal::FailingFull => {
                SubmitError::FailingFull { messages: self.scheduler.stats().0.failing }
            }
            Refusal::Closed => {
                self.report.refused(left as u64);
                SubmitError::Stopped
            }
        }
    }
}
