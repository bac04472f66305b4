//! Taking queued messages out again: at a revocation, at the end of a subscription, at a shutdown.

use super::{LaneRef, Lanes, table::State};

impl<T> Lanes<T> {
    /// Removes the queued messages that `matches`, running ones not among them, and hands them to
    /// `each`. `bytes` weighs a message as it was admitted.
    pub fn purge(
        &mut self,
        matches: &dyn Fn(&T) -> bool,
        bytes: &dyn Fn(&T) -> usize,
        each: &mut dyn FnMut(T),
    ) {
        let ready = self.ready.detach(&self.table);
        for at in self.table.places() {
            if !matches!(self.table[at].state, State::Idle { .. }) {
                self.purge_lane(at, matches, bytes, each);
            }
        }
        for at in ready {
            if self.table[at].open() > 0 {
                self.ready.push_back(&mut self.table, at);
            }
        }
    }

    /// As [`Lanes::purge`], for everything that waits in parked lanes.
    pub fn purge_parked(&mut self, bytes: &dyn Fn(&T) -> usize, each: &mut dyn FnMut(T)) {
        for at in self.table.places() {
            if let State::Parked { .. } = self.table[at].state {
                self.purge_lane(at, &|_| true, bytes, each);
            }
        }
    }

    /// Removes the last taken message of a lane and everything behind it, and hands them to `each`,
    /// in order.
    pub fn abandon(
        &mut self,
        lane: LaneRef,
        item: T,
        bytes: &dyn Fn(&T) -> usize,
        each: &mut dyn FnMut(T),
    ) {
        let entry = &mut self.table[lane.0];
        debug_assert_eq!(
            entry.taken, 1,
            "what was taken behind the failing message is given back first"
        );
        self.items.push_front(&mut entry.queue, item);
        entry.taken -= 1;
        self.purge_lane(lane.0, &|_| true, bytes, each);
    }

    pub(super) fn purge_lane(
        &mut self,
        at: u32,
        matches: &dyn Fn(&T) -> bool,
        bytes: &dyn Fn(&T) -> usize,
        each: &mut dyn FnMut(T),
    ) {
        let lane = &mut self.table[at];
        let (mut messages, mut total) = (0, 0);
        self.items.extract(&mut lane.queue, matches, |item| {
            messages += 1;
            total += bytes(&item);
            each(item);
        });
        let is_empty = lane.open() == 0;
        self.release(at, messages, total);
        if is_empty {
            self.unpark(at);
            self.table.remove(at);
        }
    }
}
