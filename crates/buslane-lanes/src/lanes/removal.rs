//! Takes queued messages out of the lanes: for good, after a revocation, the end of a subscription
//! or a shutdown; or on their way to the lanes of another scheduler.

use super::{
    Deferred, LaneKind, LaneRef, Lanes, Moved,
    table::{Lane, LanePhase},
};
use std::{cmp::Reverse, collections::HashMap, time::Instant};

impl<T> Lanes<T> {
    /// Removes the queued messages that satisfy `matches`, and passes them to `each`. Running
    /// messages stay. `bytes` returns the bytes that a message was admitted with.
    pub fn purge(
        &mut self,
        matches: &dyn Fn(&T) -> bool,
        bytes: &dyn Fn(&T) -> usize,
        each: &mut dyn FnMut(T),
    ) {
        let ready = self.ready.detach(&self.table);
        for at in self.table.places() {
            if !matches!(self.table[at].phase, LanePhase::Idle { .. }) {
                self.purge_lane(at, matches, bytes, each);
            }
        }
        for at in ready {
            if self.table[at].open() > 0 {
                self.ready.push_back(&mut self.table, at);
            }
        }
    }

    /// As [`Lanes::purge`], for every message of a deferred lane.
    pub fn purge_deferred(&mut self, bytes: &dyn Fn(&T) -> usize, each: &mut dyn FnMut(T)) {
        for at in self.table.places() {
            if let LanePhase::Deferred { .. } = self.table[at].phase {
                self.purge_lane(at, &|_| true, bytes, each);
            }
        }
    }

    /// Removes the last taken message of a lane and every message behind it, and passes them to
    /// `each`, in order.
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

    fn purge_lane(
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
        self.accounts.release(lane, messages, total);
        if is_empty {
            self.end_deferral(at);
            self.table.remove(at);
        }
    }

    /// Removes the queued messages that satisfy `matches`, and passes them to `each`: those of one
    /// lane in their order, and the first of a lane with the lane's retry state. `bytes` returns
    /// the bytes that a message was admitted with.
    pub fn extract(
        &mut self,
        matches: &dyn Fn(&T) -> bool,
        bytes: &dyn Fn(&T) -> usize,
        each: &mut dyn FnMut(Moved<T>),
    ) {
        let due = self.due_times();
        let mut ready = self.ready.detach(&self.table);
        for at in self.table.places() {
            let lane = &self.table[at];
            if let LanePhase::Idle { .. } = lane.phase {
                continue;
            }
            // The retry state belongs to the first message, which stays while it runs.
            let first_goes = lane.taken == 0 && self.items.front(&lane.queue).is_some_and(matches);
            let mut known = first_goes.then(|| (lane.failures, waits(lane, &due)));
            let was_failing = known.is_some_and(|(failures, _)| failures > 0);
            let open = lane.open();
            let mut gone = 0;
            self.purge_lane(at, matches, bytes, &mut |item| {
                gone += 1;
                let (failures, deferred) = known.take().unwrap_or_default();
                each(Moved { item, failures, deferred });
            });
            // Other keys of the lane do not wait for a message that has left it.
            if was_failing && gone < open {
                if self.end_deferral(at) {
                    ready.push(at);
                }
                self.table[at].failures = 0;
                self.accounts.move_to_runnable(&mut self.table[at]);
            }
        }
        for at in ready {
            if self.table[at].open() > 0 {
                self.ready.push_back(&mut self.table, at);
            }
        }
    }

    /// Appends a message of `bytes` to lane `id`, even beyond the bounds. In an empty lane it keeps
    /// its failures, and its wait for the next attempt. Returns whether the lane has become ready.
    pub fn adopt(&mut self, id: u64, kind: LaneKind, bytes: usize, moved: Moved<T>) -> bool {
        let Moved { item, failures, deferred } = moved;
        let known = self.table.find(id);
        self.accounts.charge(known.map(|at| &mut self.table[at]), bytes);
        let (at, begins) = match known {
            None => (self.table.add(id, kind, bytes), true),
            Some(at) => (at, matches!(self.table[at].phase, LanePhase::Idle { .. })),
        };
        self.items.push_back(&mut self.table[at].queue, item);
        if !begins {
            return false;
        }
        if known.is_some() {
            self.idle.unlink(&mut self.table, at);
        }
        self.table[at].failures = failures;
        match deferred {
            Some(Deferred { until, is_blocked }) => self.begin_deferral(at, until, is_blocked),
            None => {
                if failures > 0 {
                    self.accounts.move_to_failing(&mut self.table[at]);
                }
                self.ready.push_back(&mut self.table, at);
            }
        }
        if known.is_none() {
            self.evict_idle();
        }
        deferred.is_none()
    }

    /// The due time of each deferred lane, by the number of its deferral.
    fn due_times(&self) -> HashMap<u64, Instant> {
        if self.deferrals.lanes == 0 {
            return HashMap::new();
        }
        self.deferrals
            .timers
            .iter()
            .map(|Reverse((until, deferred_as, _))| (*deferred_as, *until))
            .collect()
    }
}

/// The wait of a deferred lane.
fn waits(lane: &Lane, due: &HashMap<u64, Instant>) -> Option<Deferred> {
    let LanePhase::Deferred { blocked: is_blocked } = lane.phase else { return None };
    due.get(&lane.deferred_as).map(|until| Deferred { until: *until, is_blocked })
}

#[cfg(test)]
mod tests {
    use super::{LaneKind, Lanes, Moved};
    use crate::{Bounds, LaneRef};
    use std::time::{Duration, Instant};

    const MESSAGE: usize = 10;

    fn take_first(lanes: &mut Lanes<u64>) -> (LaneRef, u64) {
        let mut taken = None;
        lanes.take(1, |lane, number| taken = Some((lane, number)));
        taken.expect("it is ready")
    }

    /// Three messages of one lane, the first of which has failed so often. It is due, and woken or
    /// not.
    fn failing(failures: u32, is_woken: bool, now: Instant) -> Lanes<u64> {
        let mut lanes = Lanes::new(Bounds::default());
        for number in 0..3 {
            lanes.admit(7, LaneKind::Keyed, MESSAGE, || number).unwrap();
        }
        for _ in 0..failures {
            lanes.wake_due(now);
            let (lane, number) = take_first(&mut lanes);
            lanes.defer(lane, number, now, failures > 2);
        }
        if is_woken {
            lanes.wake_due(now);
        }
        lanes
    }

    fn moved(from: &mut Lanes<u64>, matches: &dyn Fn(&u64) -> bool) -> Lanes<u64> {
        let mut to = Lanes::new(Bounds::default());
        let mut messages = Vec::new();
        from.extract(matches, &|_| MESSAGE, &mut |moved| messages.push(moved));
        for moved in messages {
            to.adopt(7, LaneKind::Keyed, MESSAGE, moved);
        }
        to
    }

    #[test]
    fn s4_a_lane_goes_as_it_stands() {
        let now = Instant::now();
        for failures in [0, 1, 3] {
            for is_woken in [false, true] {
                let mut from = failing(failures, is_woken, now);
                let (lane, stats, due) = (from.lane(7), from.stats(), from.next_due());
                let mut to = moved(&mut from, &|_| true);
                assert_eq!(
                    (to.lane(7), to.stats(), to.next_due()),
                    (lane, stats, due),
                    "{failures} {is_woken}"
                );
                assert!(from.is_empty() && from.lane(7).is_none() && from.next_due().is_none());
            }
        }
    }

    #[test]
    fn s4_what_is_known_of_a_message_goes_with_it_alone() {
        let now = Instant::now();
        for is_woken in [false, true] {
            let mut from = failing(3, is_woken, now);
            let behind = moved(&mut from, &|number| *number > 0).lane(7).expect("two messages");
            assert_eq!((behind.open, behind.failures, behind.is_waiting), (2, 0, false));
            let stays = from.lane(7).expect("one message");
            assert_eq!((stays.open, stays.failures, stays.is_waiting), (1, 3, !is_woken));

            let mut from = failing(3, is_woken, now);
            let first = moved(&mut from, &|number| *number == 0).lane(7).expect("one message");
            assert_eq!((first.open, first.failures, first.is_waiting), (1, 3, !is_woken));
            let stays = from.lane(7).expect("two messages");
            assert_eq!((stays.open, stays.failures, stays.is_waiting), (2, 0, false));
            assert_eq!(
                (from.ready(), from.stats().failing),
                (1, 0),
                "they do not wait for what has gone"
            );
        }
    }

    #[test]
    fn s4_what_runs_keeps_what_is_known_of_it() {
        let now = Instant::now();
        let mut from = failing(1, true, now);
        let (lane, number) = take_first(&mut from);
        let behind = moved(&mut from, &|_| true).lane(7).expect("two messages");
        assert_eq!((behind.open, behind.failures), (2, 0));
        from.defer(lane, number, now + Duration::from_secs(1), false);
        assert_eq!(from.lane(7).map(|lane| (lane.open, lane.failures)), Some((1, 2)));
        let mut all = Vec::new();
        from.extract(&|_| true, &|_| MESSAGE, &mut |moved| all.push(moved));
        assert!(matches!(all[..], [Moved { item: 0, failures: 2, deferred: Some(_) }]), "{all:?}");
    }
}
