//! The publishers that wait for room in a partition, first come first served.
//!
//! As long as its callers: each waiting call has one place in it, held by its future.

use crate::wakes::Wakes;
use std::{collections::VecDeque, task::Waker};

#[derive(Default)]
pub(crate) struct Queue {
    waiting: VecDeque<(u64, Option<Waker>)>,
    next_ticket: u64,
}

impl Queue {
    /// Whether the holder of `ticket`, or a newcomer without one, may append now.
    pub(crate) fn is_turn(&self, ticket: Option<u64>) -> bool {
        self.waiting.front().map(|(first, _)| *first) == ticket
    }

    /// Takes a place at the end, or keeps the one held, to be woken through `waker`.
    pub(crate) fn wait(
        &mut self,
        ticket: &mut Option<u64>,
        waker: Option<&Waker>,
        wakes: &mut Wakes,
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

    /// Gives a place up. The next in the queue looks for room then.
    pub(crate) fn leave(&mut self, ticket: &mut Option<u64>, wakes: &mut Wakes) {
        let Some(held) = ticket.take() else { return };
        if let Some(at) = self.waiting.iter().position(|(other, _)| *other == held) {
            let left = self.waiting.remove(at);
            wakes.stale(left.and_then(|(_, waker)| waker));
            if at == 0 {
                self.wake_first(wakes);
            }
        }
    }

    /// The first in the queue looks for room.
    pub(crate) fn wake_first(&mut self, wakes: &mut Wakes) {
        if let Some((_, waker)) = self.waiting.front_mut() {
            wakes.wake(waker.take());
        }
    }
}
