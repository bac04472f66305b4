//! The messages that one worker has taken and not run yet, open to stealing.
//!
//! A worker takes many messages under one lock of the lanes. In a private queue, a handler that
//! computes for 5 ms would delay every lane that its worker has taken. In this queue, the owner
//! takes messages from the front, and an idle worker steals whole lanes from the back.

use crate::{
    count::{Counts, End},
    lanes::LaneRef,
};
use std::collections::VecDeque;

/// Ended messages of one lane that are not reported to the lanes yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedRun {
    pub(crate) lane: LaneRef,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// A message that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The lane.
    pub lane: LaneRef,
    /// The bytes of the message.
    pub bytes: usize,
    /// How the message ended.
    pub end: End,
}

pub(crate) struct LocalQueue<T> {
    /// The front is next. Messages of one lane are adjacent.
    waiting: VecDeque<(LaneRef, T)>,
    /// The lane that the owner is running.
    pub(crate) running: Option<LaneRef>,
    /// Key hash of the running message; meaningful only while `running` is `Some`.
    pub(crate) running_key: u64,
    pub(crate) ended: Vec<EndedRun>,
    pub(crate) counts: Counts,
}

impl<T> LocalQueue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: None,
            running_key: 0,
            ended: Vec::new(),
            counts: Counts::ZERO,
        }
    }

    pub(crate) fn put(&mut self, lane: LaneRef, item: T) {
        self.waiting.push_back((lane, item));
    }

    /// Takes the next message to run.
    pub(crate) fn next(&mut self) -> Option<(LaneRef, T)> {
        let next = self.waiting.pop_front()?;
        self.running = Some(next.0);
        Some(next)
    }

    /// Records that the running message has ended.
    pub(crate) fn end(&mut self, ended: Ended) {
        let Ended { lane, bytes, end } = ended;
        self.running = None;
        self.counts.add(end, 1);
        match self.ended.last_mut() {
            Some(last) if last.lane == lane => {
                last.messages += 1;
                last.bytes += bytes;
            }
            _ => self.ended.push(EndedRun { lane, messages: 1, bytes }),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the last waiting message; with a `lane`, only if the message belongs to it.
    pub(crate) fn pop_back(&mut self, lane: Option<LaneRef>) -> Option<(LaneRef, T)> {
        let last = self.waiting.back()?.0;
        if lane.is_some_and(|lane| lane != last) { None } else { self.waiting.pop_back() }
    }

    /// Takes the next message if it belongs to `lane`.
    pub(crate) fn pop_front_of(&mut self, lane: LaneRef) -> Option<T> {
        if self.waiting.front()?.0 == lane {
            self.waiting.pop_front().map(|(_, item)| item)
        } else {
            None
        }
    }

    /// Whether [`steal_into`](Self::steal_into) would move a lane.
    pub(crate) fn has_stealable(&self) -> bool {
        self.waiting.back().is_some_and(|(lane, _)| Some(*lane) != self.running)
    }

    /// Moves about half of the messages to `other`: whole lanes, from the back. The running lane
    /// stays.
    pub(crate) fn steal_into(&mut self, other: &mut Self) {
        let goal = self.waiting.len().div_ceil(2);
        let mut from = self.waiting.len();
        while from > 0 {
            let lane = self.waiting[from - 1].0;
            if Some(lane) == self.running {
                break;
            }
            if self.waiting.len() - from >= goal {
                break;
            }
            while from > 0 && self.waiting[from - 1].0 == lane {
                from -= 1;
            }
        }
        other.waiting.extend(self.waiting.drain(from..));
    }

    /// Removes the waiting messages that satisfy `matches`.
    pub(crate) fn extract(
        &mut self,
        matches: &dyn Fn(&T) -> bool,
        mut each: impl FnMut(LaneRef, T),
    ) {
        for _ in 0..self.waiting.len() {
            let Some((lane, item)) = self.waiting.pop_front() else { return };
            if matches(&item) {
                each(lane, item);
            } else {
                self.waiting.push_back((lane, item));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bounds, LaneKind, Lanes};
    use proptest::prelude::*;

    /// A queue with this many messages of each lane. Each message is its number.
    fn queue(lengths: &[usize]) -> (LocalQueue<usize>, Vec<LaneRef>) {
        let (mut lanes, mut queue, mut places) =
            (Lanes::new(Bounds::default()), LocalQueue::new(), Vec::new());
        for (id, &length) in (0..).zip(lengths) {
            for _ in 0..length {
                lanes.admit(id, LaneKind::Keyed, 0, || ()).unwrap();
            }
        }
        let mut number = 0..;
        while lanes.take(usize::MAX, |lane, ()| {
            queue.put(lane, number.next().unwrap());
            places.push(lane);
        }) {}
        places.dedup();
        (queue, places)
    }

    fn content(queue: &LocalQueue<usize>) -> Vec<(LaneRef, usize)> {
        queue.waiting.iter().copied().collect()
    }

    #[test]
    fn p9_half_of_the_lanes_go_to_a_thief() {
        // Lengths of the lanes, messages started by the owner, messages that stay.
        for (lengths, started, stay) in [
            (&[1, 1][..], 0, 1),
            (&[1, 1], 1, 0),
            (&[1], 0, 0),
            (&[4], 1, 3),
            (&[4, 1], 1, 3),
            (&[2, 2, 2, 2], 0, 4),
            (&[2, 2, 2, 2], 1, 3),
            (&[1, 6], 1, 0),
            (&[3, 1, 3], 0, 3),
        ] {
            let (mut owner, _) = queue(lengths);
            for _ in 0..started {
                owner.next();
            }
            let mut thief = LocalQueue::new();
            owner.steal_into(&mut thief);
            assert_eq!(owner.len(), stay, "{lengths:?} {started}");
            assert_eq!(
                thief.len(),
                lengths.iter().sum::<usize>() - started - stay,
                "{lengths:?} {started}"
            );
        }
    }

    proptest! {
        /// SPEC: P9, R3. Whole lanes go, in order, never the running one; and when there is another
        /// lane, some go.
        #[test]
        fn p9_stealing_splits_between_lanes(lengths in prop::collection::vec(1..6_usize, 1..8), started in 0..12_usize) {
            let (mut owner, _) = queue(&lengths);
            for _ in 0..started {
                owner.next();
            }
            let before = content(&owner);
            prop_assert_eq!(owner.has_stealable(), before.iter().any(|(lane, _)| Some(*lane) != owner.running));
            let mut thief = LocalQueue::new();
            owner.steal_into(&mut thief);
            let (kept, stolen) = (content(&owner), content(&thief));
            prop_assert_eq!(&[kept.clone(), stolen.clone()].concat(), &before);
            prop_assert!(stolen.iter().all(|(lane, _)| Some(*lane) != owner.running));
            prop_assert!(kept.iter().all(|(lane, _)| stolen.iter().all(|(other, _)| other != lane)));
            let movable = before.iter().any(|(lane, _)| Some(*lane) != owner.running);
            prop_assert_eq!(movable, !stolen.is_empty());
        }
    }

    #[test]
    fn p5_ended_messages_are_reported_a_lane_at_a_time() {
        let (mut queue, places) = queue(&[2, 1]);
        for end in [End::Ok, End::Failed, End::Ok] {
            let (lane, _) = queue.next().unwrap();
            queue.end(Ended { lane, bytes: 5, end });
        }
        let ended: Vec<_> =
            queue.ended.iter().map(|run| (run.lane, run.messages, run.bytes)).collect();
        assert_eq!(ended, [(places[0], 2, 10), (places[1], 1, 5)]);
        assert_eq!(queue.counts, Counts { ok: 2, failed: 1, ..Counts::ZERO });
    }
}
