//! Who waits for room, and what kind of room.

use std::task::Waker;

/// Somebody whose message did not fit.
struct Waiter {
    ticket: u64,
    lane: u64,
    bytes: usize,
    waker: Waker,
}

/// The waiters of one scheduler. Each is woken once, when a message like its own would fit.
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
    pub(crate) fn wait(&mut self, ticket: Option<u64>, lane: u64, bytes: usize, waker: &Waker) -> u64 {
        if let Some(known) = self.list.iter_mut().find(|waiter| Some(waiter.ticket) == ticket) {
            (known.lane, known.bytes) = (lane, bytes);
            known.waker.clone_from(waker);
            return known.ticket;
        }
        self.tickets += 1;
        self.list.push(Waiter { ticket: self.tickets, lane, bytes, waker: waker.clone() });
        self.tickets
    }

    pub(crate) fn forget(&mut self, ticket: u64) {
        self.list.retain(|waiter| waiter.ticket != ticket);
    }

    /// Takes out the waiters for whom `room` has become.
    pub(crate) fn take_ready(&mut self, room: impl Fn(u64, usize) -> bool, mut wake: impl FnMut(Waker)) {
        let mut at = 0;
        while at < self.list.len() {
            if room(self.list[at].lane, self.list[at].bytes) {
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
