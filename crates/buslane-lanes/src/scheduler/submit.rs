//! Submitting, and waiting for room or for a turn.

use super::{Core, Item, Scheduler};
use crate::{bounds::Refusal, count::Counts, waiters::Want};
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

/// Messages that are enough in front of the workers, as long as no worker lacks a lane.
const DEEP: usize = 8192;

impl<T: Item> Scheduler<T> {
    /// Takes messages from the front of `batch` while there is room; never waits.
    ///
    /// # Errors
    /// The bound that refused the message now at the front.
    pub fn submit(&self, batch: &mut VecDeque<T>) -> Result<(), Refusal> {
        self.submit_as(batch, |item| item).map(drop)
    }

    /// As [`Scheduler::submit`], where messages are put into another form as they are taken.
    /// Returns whether it makes sense to submit more: see [`Scheduler::poll_turn`].
    pub(crate) fn submit_as<U: Item>(
        &self,
        batch: &mut VecDeque<U>,
        mut form: impl FnMut(U) -> T,
    ) -> Result<bool, Refusal> {
        let mut core = self.core.lock();
        if !core.open {
            return if batch.is_empty() { Ok(true) } else { Err(Refusal::Closed) };
        }
        let mut refused = None;
        let mut wakers = Vec::new();
        let mut looked = false;
        let before = batch.len();
        while let Some(first) = batch.front() {
            let (lane, kind, bytes) =
                (self.mode.lane(first.lane()), self.mode.kind(first), first.bytes());
            let next = || form(batch.pop_front().expect("the batch has a first message"));
            if let Err(refusal) = core.lanes.admit(lane, kind, bytes, next) {
                // What has ended may still lie in a tray.
                if std::mem::replace(&mut looked, true) || !self.report_all(&mut core, &mut wakers)
                {
                    refused = Some(refusal);
                    break;
                }
            }
        }
        core.count(Counts { accepted: (before - batch.len()) as u64, ..Counts::ZERO });
        self.rouse_worker(&mut core, &mut wakers);
        let more = !core.is_deep(DEEP);
        self.leave(core, wakers);
        refused.map_or(Ok(more), Err)
    }

    /// Ready when a message of `bytes` with the key hash `id` would fit, or the scheduler is
    /// closed. `ticket` names the waiter between polls; hand it to [`Scheduler::forget`] when the
    /// wait is given up.
    pub fn poll_room(
        &self,
        cx: &Context<'_>,
        id: u64,
        bytes: usize,
        ticket: &mut Option<u64>,
    ) -> Poll<()> {
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
        wakers.extend(self.wake_worker(&mut core));
        self.leave(core, wakers);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ready when it makes sense to submit more. More than a few thousand messages in front of
    /// workers that are all provided for would only push each other out of the processor's cache.
    /// Never pending while a worker lacks a lane: a few hot keys do not keep the others waiting.
    /// The ticket is as in [`Scheduler::poll_room`].
    pub fn poll_turn(&self, cx: &Context<'_>, ticket: &mut Option<u64>) -> Poll<()> {
        let mut core = self.core.lock();
        if !core.open || !core.is_deep(DEEP) {
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

    /// Wakes the submitters that find now what they wait for.
    pub(super) fn wake_waiters(&self, core: &mut Core<T>, wakers: &mut Vec<Waker>) {
        if !core.waiters.is_empty() {
            let is_shallow = !core.is_deep(DEEP / 2);
            let Core { waiters, lanes, .. } = core;
            let is = |want| match want {
                Want::Room { lane, bytes } => lanes.has_headroom(lane, bytes),
                Want::Turn => is_shallow,
            };
            waiters.take_ready(is, |waker| wakers.push(waker));
        }
    }
}

impl<T> Core<T> {
    /// Whether more than `messages` can run, and more of them would not keep one more worker busy.
    fn is_deep(&self, messages: usize) -> bool {
        // While workers sleep although lanes are ready the cores are what is short. Else each
        // worker may need a lane.
        let lanes = if self.workers.any_idle() {
            4 * self.workers.parallelism()
        } else {
            2 * self.workers.len()
        };
        self.lanes.runnable() > messages && self.lanes.ready() > lanes
    }
}
