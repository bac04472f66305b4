//! Submitters that wait for capacity.

use std::task::Waker;

/// The capacity that a submitter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// Room for one message.
    Room {
        /// Its key hash.
        lane: u64,
        /// Its bytes.
        bytes: usize,
    },
    /// A drained backlog. More than a few thousand messages in front of workers that all have a
    /// lane would only evict each other from the processor's cache. Available at once while a
    /// worker lacks a lane, so that a few hot keys do not delay the others.
    Drain,
}

struct Waiter {
    ticket: u64,
    want: WaitFor,
    waker: Waker,
}

/// The waiters of one scheduler. Each is woken once, when its capacity becomes available.
#[derive(Default)]
pub(crate) struct Waiters {
    list: Vec<Waiter>,
    tickets: u64,
}

impl Waiters {
    pub(crate) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Registers or renews a waiter, and returns its ticket.
    pub(crate) fn wait(&mut self, ticket: Option<u64>, want: WaitFor, waker: &Waker) -> u64 {
        if let Some(known) = self.list.iter_mut().find(|waiter| Some(waiter.ticket) == ticket) {
            known.want = want;
            known.waker.clone_from(waker);
            return known.ticket;
        }
        self.tickets += 1;
        self.list.push(Waiter { ticket: self.tickets, want, waker: waker.clone() });
        self.tickets
    }

    pub(crate) fn forget(&mut self, ticket: u64) {
        self.list.retain(|waiter| waiter.ticket != ticket);
    }

    /// Removes and wakes the waiters whose capacity `is` available.
    pub(crate) fn take_ready(&mut self, is: impl Fn(WaitFor) -> bool, mut wake: impl FnMut(Waker)) {
        let mut at = 0;
        while at < self.list.len() {
            if is(self.list[at].want) {
                wake(self.list.swap_remove(at).waker);
            } else {
                at += 1;
            }
        }
    }

    pub(crate) fn take_all(&mut self, mut wake: impl FnMut(Waker)) {
        self.list.drain(..).for_each(|waiter| wake(waiter.waker));
    }
}
