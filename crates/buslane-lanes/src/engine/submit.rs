//! How jobs get into an engine, and how their submitters wait for room.

use super::Engine;
use crate::Refusal;
use buslane_core::{Job, SubmitError, Want};
use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Instant,
};

impl Engine {
    /// Takes jobs from the front of `batch` while there is room; never waits.
    ///
    /// # Errors
    /// Why the job now at the front was not taken.
    pub fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.take(batch).map(drop)
    }

    /// As [`Engine::try_submit`]; returns whether it makes sense to submit more.
    fn take(&self, batch: &mut VecDeque<Job>) -> Result<bool, SubmitError> {
        if batch.is_empty() {
            return Ok(true);
        }
        let now = Instant::now();
        let mut orphan = None;
        for (at, job) in batch.iter_mut().enumerate() {
            if job.handler.is_none() && self.default_handler.is_none() {
                orphan = Some(at);
                break;
            }
            job.accepted = Some(now);
        }
        let Some(orphan) = orphan else { return self.admit(batch) };
        let rest = batch.split_off(orphan);
        let taken = self.admit(batch);
        batch.extend(rest);
        taken?;
        self.metrics.refused(1);
        Err(SubmitError::NoHandler)
    }

    fn admit(&self, batch: &mut VecDeque<Job>) -> Result<bool, SubmitError> {
        self.scheduler.submit_as(batch, self.boxes.packer(self.now())).map_err(|refusal| {
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
                    self.metrics.refused(batch.len() as u64);
                    SubmitError::Stopped
                }
            }
        })
    }

    /// As [`Engine::try_submit`], waiting for room until `timeout` is ready. Waits as well, after
    /// it has taken all, while more work than this would only lie in front of busy workers.
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
        let mut timeout = pin!(timeout);
        let mut timed_out = false;
        loop {
            match self.take(batch) {
                Err(error) if error.is_temporary() && !timed_out => {
                    let Some(first) = batch.front() else { return Ok(()) };
                    let room = Want::Room { lane: first.lane, bytes: first.bytes() };
                    timed_out = !self.wait(room, timeout.as_mut()).await;
                }
                Ok(false) if !timed_out => {
                    self.wait(Want::Turn, timeout.as_mut()).await;
                    return Ok(());
                }
                other => return other.map(drop),
            }
        }
    }

    /// Waits for what is wanted until `timeout`. Tells whether it is there.
    async fn wait(&self, want: Want, mut timeout: Pin<&mut impl Future<Output = ()>>) -> bool {
        /// Takes the waiter off the list, also when the wait is cancelled.
        struct Waiting<'a>(&'a Engine, Option<u64>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                if let Some(ticket) = self.1 {
                    self.0.scheduler.forget(ticket);
                }
            }
        }
        let mut waiting = Waiting(self, None);
        poll_fn(|cx| {
            if self.poll_ready(cx, want, &mut waiting.1).is_ready() {
                Poll::Ready(true)
            } else {
                timeout.as_mut().poll(cx).map(|()| false)
            }
        })
        .await
    }

    /// As [`PoolSide::poll_ready`](buslane_core::PoolSide::poll_ready).
    pub fn poll_ready(&self, cx: &Context<'_>, want: Want, ticket: &mut Option<u64>) -> Poll<()> {
        match want {
            Want::Turn => self.scheduler.poll_turn(cx, ticket),
            Want::Room { lane, bytes } => self.scheduler.poll_room(cx, lane, bytes, ticket),
        }
    }

    /// Takes a waiter off the list.
    pub fn forget(&self, ticket: u64) {
        self.scheduler.forget(ticket);
    }
}
