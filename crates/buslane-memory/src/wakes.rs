//! The ways to wake waiting tasks: wakers that run once a lock is free, the queue of publishers
//! that wait for capacity in a partition, the signal of a group, and the state of the connection.

use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
};
use tokio::sync::{Notify, futures::Notified};

/// Wakers to wake or drop after a lock is released.
///
/// Waking or dropping a waker can run foreign code (a task's last reference drops its deliveries,
/// which settles them), so it never happens under a lock of this crate.
#[derive(Default)]
pub(crate) struct DeferredWakes {
    wake: Vec<Waker>,
    /// Stored only to be dropped outside of the lock.
    stale: Vec<Waker>,
}

impl DeferredWakes {
    /// Adds a waker to wake.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wake.extend(waker);
    }

    /// Adds a waker to drop.
    pub(crate) fn stale(&mut self, waker: Option<Waker>) {
        self.stale.extend(waker);
    }

    /// Stores `new` in `slot`, unless the present waker wakes the same task.
    pub(crate) fn replace(&mut self, slot: &mut Option<Waker>, new: &Waker) {
        if !slot.as_ref().is_some_and(|old| old.will_wake(new)) {
            self.stale.extend(slot.replace(new.clone()));
        }
    }

    /// Wakes and drops the wakers. Must be called without a lock.
    pub(crate) fn run(self) {
        for waker in self.wake {
            waker.wake();
        }
    }
}

/// The publishers that wait for capacity in a partition, in the order of arrival.
///
/// A waiting call holds one ticket until it has appended its records or is dropped.
#[derive(Default)]
pub(crate) struct PublisherQueue {
    waiting: VecDeque<(u64, Option<Waker>)>,
    next_ticket: u64,
}

impl PublisherQueue {
    /// Whether the holder of `ticket`, or a caller without one, may append now.
    pub(crate) fn is_turn(&self, ticket: Option<u64>) -> bool {
        self.waiting.front().map(|(first, _)| *first) == ticket
    }

    /// Takes a ticket unless the caller has one, and stores its waker.
    pub(crate) fn wait(
        &mut self,
        ticket: &mut Option<u64>,
        waker: Option<&Waker>,
        wakes: &mut DeferredWakes,
    ) {
        let held = *ticket.get_or_insert_with(|| {
            self.next_ticket += 1;
            self.waiting.push_back((self.next_ticket, None));
            self.next_ticket
        });
        if let Some((_, slot)) = self.waiting.iter_mut().find(|(other, _)| *other == held)
            && let Some(waker) = waker
        {
            wakes.replace(slot, waker);
        }
    }

    /// Gives up a ticket, and wakes the next publisher if the ticket was the first.
    pub(crate) fn leave(&mut self, ticket: &mut Option<u64>, wakes: &mut DeferredWakes) {
        let Some(held) = ticket.take() else { return };
        if let Some(at) = self.waiting.iter().position(|(other, _)| *other == held) {
            let left = self.waiting.remove(at);
            wakes.stale(left.and_then(|(_, waker)| waker));
            if at == 0 {
                self.wake_first(wakes);
            }
        }
    }

    /// Wakes the first publisher, which then checks for capacity.
    pub(crate) fn wake_first(&mut self, wakes: &mut DeferredWakes) {
        if let Some((_, waker)) = self.waiting.front_mut() {
            wakes.wake(waker.take());
        }
    }
}

/// Notifies the members of a group, and counts its late settlements.
#[derive(Debug, Default)]
pub(crate) struct GroupSignal {
    changed: Notify,
    late: AtomicU64,
}

impl GroupSignal {
    /// Makes the members look for events again.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Resolves at the next change. Enable the future before checking, or a change in between is
    /// missed.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Counts a settlement that arrived after its partition had moved.
    pub(crate) fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}

/// Whether the broker is reachable: always, unless a fault cuts the connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Even while connected, odd while cut.
    changes: AtomicU64,
    reason: Mutex<String>,
    changed: Notify,
}

impl Connection {
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.changes().is_multiple_of(2)
    }

    pub(crate) fn reason(&self) -> String {
        self.reason.lock().clone()
    }

    /// Resolves at the next change. Enable the future before checking, or a change in between is
    /// missed.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Cuts the connection (`Some`) or restores it. Returns whether the state changed.
    pub(crate) fn set(&self, cut: Option<&str>) -> bool {
        let mut reason = self.reason.lock();
        let change = self.is_up() == cut.is_some();
        if change {
            cut.unwrap_or_default().clone_into(&mut reason);
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        drop(reason);
        self.changed.notify_waiters();
        change
    }
}
