//! Wakers that are to be woken or dropped once a lock is free.
//!
//! Waking or dropping a waker can run foreign code (a task's last reference drops its deliveries,
//! which settle): never under a lock of this crate.

use std::task::Waker;

#[derive(Default)]
pub(crate) struct Wakes {
    wake: Vec<Waker>,
    /// Kept only to be dropped outside the lock.
    stale: Vec<Waker>,
}

impl Wakes {
    /// To be woken.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wake.extend(waker);
    }

    /// To be dropped.
    pub(crate) fn stale(&mut self, waker: Option<Waker>) {
        self.stale.extend(waker);
    }

    /// Puts `new` into `slot` unless it wakes the same task already.
    pub(crate) fn replace(&mut self, slot: &mut Option<Waker>, new: &Waker) {
        if !slot.as_ref().is_some_and(|old| old.will_wake(new)) {
            self.stale.extend(slot.replace(new.clone()));
        }
    }

    /// Wakes them; call it without a lock.
    pub(crate) fn run(self) {
        for waker in self.wake {
            waker.wake();
        }
    }
}
