//! Empty boxes on their way back from the workers to the submitters.
//!
//! A burst needs as many as it has messages, and what comes after it a few: boxes that nobody
//! needed for a while go back to the allocator, half of them at a time.

use crate::{parcel::Parcel, sync::Mutex};
use buslane_core::Job;
use std::time::{Duration, Instant};

/// Empty boxes that are kept at most, on either side.
const KEPT: usize = 8_192;
/// Boxes that were not needed for so long are too many.
const UNUSED: Duration = Duration::from_secs(1);

/// Order of locks: `stash`, then that of the scheduler, then `returned`.
#[derive(Default)]
pub(crate) struct Boxes {
    /// The submitters'.
    stash: Mutex<Stash>,
    /// What workers gave back since.
    returned: Mutex<Vec<Parcel>>,
}

impl Boxes {
    /// What packs jobs into boxes. Submitters take turns.
    pub(crate) fn packer(&self, now: Instant) -> impl FnMut(Job) -> Parcel {
        let mut stash = self.stash.lock();
        stash.let_go(now, || self.take_returned());
        move |job| {
            if stash.boxes.is_empty() {
                stash.fill(&mut self.returned.lock());
            }
            let mut parcel = stash.boxes.pop().unwrap_or_default();
            parcel.put(job);
            parcel
        }
    }

    /// Takes empty boxes back.
    pub(crate) fn put(&self, boxes: &mut Vec<Parcel>) {
        if boxes.is_empty() {
            return;
        }
        let mut returned = self.returned.lock();
        let room = KEPT.saturating_sub(returned.len()).min(boxes.len());
        returned.extend(boxes.drain(..room));
        drop(returned);
        boxes.clear();
    }

    /// Gives back what is not needed. Submitters do it on their way; this is for times without any.
    pub(crate) fn let_go(&self, now: Instant) {
        self.stash.lock().let_go(now, || self.take_returned());
    }

    fn take_returned(&self) -> Vec<Parcel> {
        std::mem::take(&mut *self.returned.lock())
    }
}

struct Stash {
    /// The last one is next, so the first ones are those that nobody needs.
    boxes: Vec<Parcel>,
    /// How few there were of all boxes when the stash was filled since the last look.
    fewest: usize,
    /// How many were left at the last look.
    left: usize,
    looked: Option<Instant>,
}

impl Default for Stash {
    fn default() -> Self {
        Self { boxes: Vec::new(), fewest: usize::MAX, left: 0, looked: None }
    }
}

impl Stash {
    fn fill(&mut self, returned: &mut Vec<Parcel>) {
        std::mem::swap(&mut self.boxes, returned);
        self.fewest = self.fewest.min(self.boxes.len());
    }

    fn let_go(&mut self, now: Instant, returned: impl FnOnce() -> Vec<Parcel>) {
        let looked = *self.looked.get_or_insert(now);
        if now.saturating_duration_since(looked) < UNUSED {
            return;
        }
        self.looked = Some(now);
        let was_used = self.fewest != usize::MAX || self.boxes.len() < self.left;
        if !was_used {
            self.boxes.append(&mut returned());
        }
        let unused = std::mem::replace(&mut self.fewest, usize::MAX).min(self.boxes.len());
        self.boxes.truncate(self.boxes.len() - unused.div_ceil(2));
        self.boxes.shrink_to(self.boxes.len() * 2);
        self.left = self.boxes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::{Parcel, Stash, UNUSED};
    use std::time::Instant;

    /// A second in which so many boxes were out at the same time, and came back.
    fn a_second(stash: &mut Stash, returned: &mut Vec<Parcel>, now: &mut Instant, most: usize) {
        *now += UNUSED;
        stash.let_go(*now, || std::mem::take(returned));
        let out: Vec<_> = (0..most)
            .map(|_| {
                if stash.boxes.is_empty() {
                    stash.fill(returned);
                }
                stash.boxes.pop().unwrap_or_default()
            })
            .collect();
        returned.extend(out);
    }

    #[test]
    fn what_a_burst_needed_goes_and_what_is_used_stays() {
        let (mut stash, mut returned, mut now) = (Stash::default(), Vec::new(), Instant::now());
        let kept = |stash: &Stash, returned: &[Parcel]| stash.boxes.len() + returned.len();
        a_second(&mut stash, &mut returned, &mut now, 5_000);
        assert_eq!(kept(&stash, &returned), 5_000);
        for _ in 0..60 {
            a_second(&mut stash, &mut returned, &mut now, 100);
            assert!(kept(&stash, &returned) >= 100);
        }
        assert!(kept(&stash, &returned) <= 200, "{} are kept", kept(&stash, &returned));
        assert!(stash.boxes.capacity() <= 400, "room for {}", stash.boxes.capacity());
    }

    #[test]
    fn a_steady_need_is_met_by_the_same_boxes() {
        let (mut stash, mut returned, mut now) = (Stash::default(), Vec::new(), Instant::now());
        for _ in 0..10 {
            for _ in 0..50 {
                now += UNUSED / 50;
                stash.let_go(now, || std::mem::take(&mut returned));
                let mut out = Vec::new();
                for _ in 0..1_000 {
                    if stash.boxes.is_empty() {
                        stash.fill(&mut returned);
                    }
                    out.push(stash.boxes.pop().unwrap_or_default());
                }
                returned.extend(out);
            }
            assert_eq!(stash.boxes.len() + returned.len(), 1_000);
        }
    }

    #[test]
    fn t5_without_traffic_all_go() {
        let (mut stash, mut returned, mut now) = (Stash::default(), Vec::new(), Instant::now());
        a_second(&mut stash, &mut returned, &mut now, 5_000);
        for _ in 0..16 {
            a_second(&mut stash, &mut returned, &mut now, 0);
        }
        assert_eq!([stash.boxes.capacity(), returned.capacity()], [0, 0]);
    }
}
