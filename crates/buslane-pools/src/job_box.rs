//! Boxes for jobs, used again and again.
//!
//! A job is moved about ten times between a submission and its handler. In a box those are moves of
//! a pointer; the boxes go round between submitters and workers, so a message costs no allocation.
//!
//! A burst needs as many boxes as it has messages, and what comes after it a few: boxes that were
//! not needed for a while go back to the allocator, half of them at a time.

use buslane_core::Job;
use buslane_lanes::{Item, LaneKind};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Empty boxes that are kept at most, on either side.
const KEPT: usize = 8_192;
/// Boxes that were not needed for so long are too many.
const UNUSED: Duration = Duration::from_secs(1);

/// A box for one job.
#[derive(Default)]
pub(crate) struct JobBox(Box<Option<Job>>);

impl JobBox {
    /// The job; none when the box is empty.
    pub(crate) fn job(&mut self) -> Option<&mut Job> {
        self.0.as_mut().as_mut()
    }

    /// As [`JobBox::job`], to look at.
    pub(crate) fn as_job(&self) -> Option<&Job> {
        self.0.as_ref().as_ref()
    }

    /// Puts a job in.
    pub(crate) fn put(&mut self, job: Job) {
        *self.0 = Some(job);
    }

    /// Drops the job.
    pub(crate) fn empty(&mut self) {
        *self.0 = None;
    }
}

impl Item for JobBox {
    fn lane(&self) -> u64 {
        self.as_job().map_or(0, |job| job.lane)
    }

    fn bytes(&self) -> usize {
        self.as_job().map_or(0, Job::bytes)
    }

    fn kind(&self) -> LaneKind {
        self.as_job().map_or_else(LaneKind::default, Job::kind)
    }
}

/// Empty boxes. Order of locks: `stash`, then that of the scheduler, then `returned`.
#[derive(Default)]
pub(crate) struct JobBoxes {
    /// The submitters'.
    stash: Mutex<Stash>,
    /// What workers gave back since.
    returned: Mutex<Vec<JobBox>>,
}

impl JobBoxes {
    /// Returns what packs jobs into boxes. Submitters take turns.
    pub(crate) fn packer(&self, now: Instant) -> impl FnMut(Job) -> JobBox {
        let mut stash = self.stash.lock();
        stash.shrink(now, || self.take_returned());
        move |job| {
            if stash.boxes.is_empty() {
                stash.fill(&mut self.returned.lock());
            }
            let mut boxed = stash.boxes.pop().unwrap_or_default();
            boxed.put(job);
            boxed
        }
    }

    /// Takes empty boxes back.
    pub(crate) fn put(&self, boxes: &mut Vec<JobBox>) {
        if boxes.is_empty() {
            return;
        }
        let mut returned = self.returned.lock();
        let room = KEPT.saturating_sub(returned.len()).min(boxes.len());
        returned.extend(boxes.drain(..room));
        drop(returned);
        boxes.clear();
    }

    /// Frees the boxes that are not needed. Submitters do so on their way; this is for times
    /// without any.
    pub(crate) fn shrink(&self, now: Instant) {
        self.stash.lock().shrink(now, || self.take_returned());
    }

    fn take_returned(&self) -> Vec<JobBox> {
        std::mem::take(&mut *self.returned.lock())
    }
}

struct Stash {
    /// The last one is next, so the first ones are those that nobody needs.
    boxes: Vec<JobBox>,
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
    fn fill(&mut self, returned: &mut Vec<JobBox>) {
        std::mem::swap(&mut self.boxes, returned);
        self.fewest = self.fewest.min(self.boxes.len());
    }

    fn shrink(&mut self, now: Instant, returned: impl FnOnce() -> Vec<JobBox>) {
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
    use super::{JobBox, Stash, UNUSED};
    use std::time::Instant;

    /// A second in which so many boxes were out at the same time, and came back.
    fn a_second(stash: &mut Stash, returned: &mut Vec<JobBox>, now: &mut Instant, most: usize) {
        *now += UNUSED;
        stash.shrink(*now, || std::mem::take(returned));
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
        let kept = |stash: &Stash, returned: &[JobBox]| stash.boxes.len() + returned.len();
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
                stash.shrink(now, || std::mem::take(&mut returned));
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
