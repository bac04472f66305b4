//! What one worker has taken and not run yet, in view of the others.
//!
//! A worker takes many messages under one lock of the lanes. If they were its own, a handler that computes for
//! 5 ms would hold up every lane it had taken with it. So they lie in a tray: its owner takes them from the front,
//! an idle worker takes whole lanes from the back.

use crate::{
    count::{Counts, End},
    lanes::LaneRef,
};
use std::collections::VecDeque;

/// Messages of one lane that have ended and are not reported to the lanes yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedRun {
    pub(crate) lane: LaneRef,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// One message that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its lane.
    pub lane: LaneRef,
    /// Its bytes.
    pub bytes: usize,
    /// How it ended.
    pub end: End,
}

pub(crate) struct Tray<T> {
    /// Front is next. The messages of one lane stand together.
    waiting: VecDeque<(LaneRef, T)>,
    /// The lane that the owner is running.
    pub(crate) running: Option<LaneRef>,
    pub(crate) ended: Vec<EndedRun>,
    pub(crate) counts: Counts,
}

impl<T> Tray<T> {
    pub(crate) const fn new() -> Self {
        Self { waiting: VecDeque::new(), running: None, ended: Vec::new(), counts: Counts::ZERO }
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

    /// Notes that the running message has ended.
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

    /// Takes the last message that waits; of the lane `lane` alone when one is given.
    pub(crate) fn pop_back(&mut self, lane: Option<LaneRef>) -> Option<(LaneRef, T)> {
        let last = self.waiting.back()?.0;
        if lane.is_some_and(|lane| lane != last) { None } else { self.waiting.pop_back() }
    }

    /// Takes the next message if it is of `lane`.
    pub(crate) fn pop_front_of(&mut self, lane: LaneRef) -> Option<T> {
        if self.waiting.front()?.0 == lane { self.waiting.pop_front().map(|(_, item)| item) } else { None }
    }

    /// Moves about half of the lanes, the last ones and whole, to `thief`. The running lane stays.
    pub(crate) fn steal(&mut self, thief: &mut Self) {
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
        thief.waiting.extend(self.waiting.drain(from..));
    }

    /// Removes the waiting messages that `matches`.
    pub(crate) fn extract(&mut self, matches: &dyn Fn(&T) -> bool, mut each: impl FnMut(LaneRef, T)) {
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
