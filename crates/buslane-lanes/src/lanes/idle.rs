//! Lanes without work whose state is kept for a while: the longest idle goes first when there are
//! too many, and every one when its time is over.
//!
//! Not a clock: time passes in steps, which [`Lanes::sweep`] counts, so that a message that ends
//! asks nobody for the time. A lane with a message, whether it waits, runs or is tried again, is
//! never in here.

use super::{
    Lanes,
    table::{LaneKind, State, Table},
};
use crate::slab::{NONE, Slab};
use std::time::{Duration, Instant};

/// Steps after which an idle lane goes. It was idle for the last seven and a part of the first.
const STEPS: u32 = 8;

/// The idle lanes, the longest idle first: a list linked through the lanes.
pub(super) struct Idle {
    head: u32,
    tail: u32,
    len: usize,
    /// Lanes of keys that there may be, those with work among them, before an idle one goes.
    most: usize,
    step: u32,
    length: Duration,
    /// When the present step ends; `None` while nobody counts.
    due: Option<Instant>,
}

impl Idle {
    pub(super) const fn new(most: usize, time: Duration) -> Self {
        // A quotient by a constant that is not zero.
        let length = Duration::from_nanos_u128(time.as_nanos() / STEPS as u128);
        Self { head: NONE, tail: NONE, len: 0, most, step: 0, length, due: None }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn push_back(&mut self, table: &mut Table, at: u32) {
        let tail = std::mem::replace(&mut self.tail, at);
        let lane = &mut table[at];
        lane.state = State::Idle { since: self.step };
        (lane.before, lane.next) = (tail, NONE);
        if tail == NONE {
            self.head = at;
        } else {
            table[tail].next = at;
        }
        self.len += 1;
    }

    pub(super) fn unlink(&mut self, table: &mut Table, at: u32) {
        let (before, next) = (table[at].before, table[at].next);
        match before {
            NONE => self.head = next,
            before => table[before].next = next,
        }
        match next {
            NONE => self.tail = before,
            next => table[next].before = before,
        }
        self.len -= 1;
    }

    /// The longest idle lane, and when that began.
    fn oldest(&self, table: &Table) -> Option<(u32, u32)> {
        if self.head == NONE {
            return None;
        }
        match table[self.head].state {
            State::Idle { since } => Some((self.head, since)),
            _ => None,
        }
    }
}

impl<T> Lanes<T> {
    /// A lane has no message any more.
    pub(super) fn rest(&mut self, at: u32) {
        if self.table[at].kind == LaneKind::Keyless {
            self.drop_lane(at);
            return;
        }
        // Nothing of it is charged to either account.
        self.table[at].charged_parked = false;
        self.idle.push_back(&mut self.table, at);
        self.make_room();
    }

    /// Lets the longest idle lanes go while there are more of keys than are kept.
    pub(super) fn make_room(&mut self) {
        while self.table.keyed() > self.idle.most {
            let Some((at, _)) = self.idle.oldest(&self.table) else { return };
            self.forget(at);
        }
    }

    fn forget(&mut self, at: u32) {
        self.idle.unlink(&mut self.table, at);
        self.drop_lane(at);
    }

    /// The lane has no message, and nothing more is known of it.
    // Apart from a message that ends, which seldom comes here.
    #[inline(never)]
    fn drop_lane(&mut self, at: u32) {
        self.table.remove(at);
        if self.table.let_go() {
            self.parking.forget_timers();
        }
    }

    /// Forgets the lanes that have been idle for as long as they are kept, and returns when to ask
    /// again; `None` while none is idle.
    pub fn sweep(&mut self, now: Instant) -> Option<Instant> {
        while self.idle.len > 0 {
            let due = match self.idle.due {
                Some(due) => due,
                // A time that no clock will ever show.
                None => now.checked_add(self.idle.length)?,
            };
            self.idle.due = Some(due);
            if due > now {
                return Some(due);
            }
            self.idle.step = self.idle.step.wrapping_add(1);
            self.idle.due = due.checked_add(self.idle.length);
            while let Some((at, since)) = self.idle.oldest(&self.table)
                && self.idle.step.wrapping_sub(since) >= STEPS
            {
                self.forget(at);
            }
        }
        self.idle.due = None;
        if self.table.len() == 0 {
            self.let_go();
        }
        None
    }

    /// There is no lane, so no place of one is known to anybody: what the busiest time needed goes.
    fn let_go(&mut self) {
        (self.table, self.items) = (Table::new(), Slab::new());
        self.parking.forget_timers();
    }

    /// Whether there are idle lanes, and [`Lanes::sweep`] has not been asked when they go.
    #[must_use]
    pub const fn wants_sweep(&self) -> bool {
        self.idle.len > 0 && self.idle.due.is_none()
    }

    /// Forgets every idle lane, and keeps none from now on.
    pub fn keep_none(&mut self) {
        self.idle.most = 0;
        self.make_room();
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneKind, Lanes};
    use crate::Bounds;
    use std::time::{Duration, Instant};

    #[test]
    fn t5_a_retry_that_was_taken_out_leaves_nothing_behind() {
        let (mut lanes, now) = (Lanes::new(Bounds::default()), Instant::now());
        for id in 0..3_000 {
            lanes.admit(id, LaneKind::Keyless, 0, || ()).unwrap();
        }
        let mut taken = Vec::new();
        while lanes.take(1, |lane, ()| taken.push(lane)) {}
        for lane in taken.drain(..) {
            lanes.park(lane, (), now + Duration::from_secs(1), false);
        }
        lanes.purge(&|()| true, &|()| 0, &mut |()| ());
        for id in 0..3 {
            lanes.admit(id, LaneKind::Keyless, 0, || ()).unwrap();
            assert!(lanes.take(1, |lane, ()| taken.push(lane)));
            lanes.finish(taken.remove(0), 1, 0);
            assert_eq!((lanes.next_due(), lanes.wake_due(now + Duration::from_secs(2))), (None, 0));
        }
    }
}
