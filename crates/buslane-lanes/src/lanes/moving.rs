//! Messages that another scheduler goes on with, and those of another that this one goes on with.

use super::{LaneKind, Lanes, table::State};
use buslane_core::Parked;
use std::{cmp::Reverse, collections::HashMap, time::Instant};

impl<T> Lanes<T> {
    /// Removes the queued messages that `matches`, those of one lane in their order, and hands them to `each`, with how the
    /// first one of a parked lane waits. `bytes` weighs a message as it was admitted.
    pub fn extract(
        &mut self,
        matches: &dyn Fn(&T) -> bool,
        bytes: &dyn Fn(&T) -> usize,
        each: &mut dyn FnMut(T, Option<Parked>),
    ) {
        let due = self.due_times();
        let ready = self.ready.detach(&self.table);
        let mut freed = Vec::new();
        for at in self.table.places() {
            let lane = &self.table[at];
            let mut parked = match lane.state {
                State::Idle { .. } => continue,
                State::Parked { blocked } if self.items.front(&lane.queue).is_some_and(matches) => due
                    .get(&lane.parked_as)
                    .map(|until| Parked { until: *until, is_blocked: blocked, failures: lane.failures }),
                _ => None,
            };
            let head_goes = parked.is_some();
            let open = lane.open();
            let mut gone = 0;
            self.purge_lane(at, matches, bytes, &mut |item| {
                gone += 1;
                each(item, parked.take());
            });
            // Keys that share the lane do not wait for what has gone.
            if head_goes && gone < open {
                self.unpark(at);
                self.table[at].failures = 0;
                if self.table[at].charged_parked {
                    self.charge_to_runnable(at);
                }
                freed.push(at);
            }
        }
        for at in ready {
            if self.table[at].open() > 0 {
                self.ready.push_back(&mut self.table, at);
            }
        }
        for at in freed {
            self.ready.push_back(&mut self.table, at);
        }
    }

    /// Puts a message of `bytes` behind the others of lane `id`, whatever the bounds say. In a lane of no others it waits as
    /// it did where it comes from. Returns whether the lane has become ready by it.
    pub fn adopt(&mut self, id: u64, kind: LaneKind, bytes: usize, item: T, parked: Option<Parked>) -> bool {
        let known = self.table.find(id);
        self.charge_always(known, bytes);
        let (at, begins) = match known {
            None => (self.table.add(id, kind, bytes), true),
            Some(at) => (at, matches!(self.table[at].state, State::Idle { .. })),
        };
        self.items.push_back(&mut self.table[at].queue, item);
        if !begins {
            return false;
        }
        if known.is_some() {
            self.idle.unlink(&mut self.table, at);
        }
        match parked {
            Some(Parked { until, is_blocked, failures }) => {
                self.table[at].failures = failures;
                self.begin_parking(at, until, is_blocked);
            }
            None => self.ready.push_back(&mut self.table, at),
        }
        if known.is_none() {
            self.make_room();
        }
        parked.is_none()
    }

    /// Until when each parked lane waits, by its parking.
    fn due_times(&self) -> HashMap<u64, Instant> {
        if self.parking.lanes == 0 {
            return HashMap::new();
        }
        self.parking.timers().map(|Reverse((until, parked_as, _))| (*parked_as, *until)).collect()
    }
}
