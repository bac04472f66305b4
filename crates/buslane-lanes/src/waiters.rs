//! Who waits for room, and what kind of room.

use std::task::Waker;

/// What a submitter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Room for a message of so many bytes in a lane.
    Room { lane: u64, bytes: usize },
    /// That the workers have caught up.
    Turn,
}

struct Waiter {
    ticket: u64,
    want: Want,
    waker: Waker,
}

/// The waiters of one scheduler. Each is woken once, when there is what it wants.
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
    pub(crate) fn wait(&mut self, ticket: Option<u64>, want: Want, waker: &Waker) -> u64 {
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

    /// Takes out the waiters for whom there `is` what they want.
    pub(crate) fn take_ready(&mut self, is: impl Fn(Want) -> bool, mut wake: impl FnMut(Waker)) {
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
