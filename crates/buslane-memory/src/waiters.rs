//! Tasks that wait: wakers to run once a lock is free, and the publishers that wait for room in a
//! partition.

use std::{collections::VecDeque, task::Waker};

/// Wakers to wake or drop after a lock is released.
///
/// Waking or dropping a waker can run foreign code (a task's last reference drops its deliveries,
/// which settles them), so it never happens under a lock of this crate.
#[derive(Default)]
pub(crate) struct DeferredWakes {
    wake: Vec<Waker>,
    /// Kept only to be dropped outside the lock.
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

    /// Stores `new` in `slot` unless the waker there wakes the same task.
    pub(crate) fn replace(&mut self, slot: &mut Option<Waker>, new: &Waker) {
        if !slot.as_ref().is_some_and(|old| old.will_wake(new)) {
            self.stale.extend(slot.replace(new.clone()));
        }
    }

    /// Wakes and drops the wakers. Call it without a lock.
    pub(crate) fn run(self) {
        for waker in self.wake {
            waker.wake();
        }
    }
}

/// The publishers that wait for room in a partition, in the order in which they arrived.
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

    /// Gives a ticket up, and wakes the next publisher if it was the first.
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

    /// Wakes the first publisher, which then looks for room.
    pub(crate) fn wake_first(&mut self, wakes: &mut DeferredWakes) {
        if let Some((_, waker)) = self.waiting.front_mut() {
            wakes.wake(waker.take());
        }
    }
}
