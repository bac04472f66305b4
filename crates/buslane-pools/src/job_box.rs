//! A pool of reused boxes for jobs.
//!
//! A job is moved about ten times between its submission and its handler. In a box, each move
//! copies only a pointer. Boxes circulate between submitters and workers, so that a message costs
//! no allocation.
//!
//! A burst needs as many boxes as it has messages. Boxes that were not needed for a while are
//! freed, half of them at a time.

use buslane_core::Job;
use buslane_lanes::{Item, LaneKind};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// The maximum number of returned empty boxes that are kept.
const KEPT: usize = 8_192;
/// Boxes that were unused for this long are freed.
const UNUSED: Duration = Duration::from_secs(1);

/// A box for one job.
#[derive(Default)]
pub(crate) struct JobBox(Box<Option<Job>>);

impl JobBox {
    /// The job; `None` if the box is empty.
    pub(crate) fn job(&mut self) -> Option<&mut Job> {
        self.0.as_mut().as_mut()
    }

    /// As [`JobBox::job`], by shared reference.
    pub(crate) fn as_job(&self) -> Option<&Job> {
        self.0.as_ref().as_ref()
    }

    /// Stores a job.
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

/// The empty boxes. Order of locks: `free`, then the lock of the scheduler, then `returned`.
#[derive(Default)]
pub(crate) struct JobBoxes {
    /// The boxes for submitters.
    free: Mutex<FreeList>,
    /// The boxes that workers have returned since the last refill.
    returned: Mutex<Vec<JobBox>>,
}

impl JobBoxes {
    /// Returns a function that puts jobs into boxes. It holds a lock, so submitters take turns.
    pub(crate) fn packer(&self, now: Instant) -> impl FnMut(Job) -> JobBox {
        let mut free = self.free.lock();
        free.shrink(now, || self.take_returned());
        move |job| {
            if free.boxes.is_empty() {
                free.refill(&mut self.returned.lock());
            }
            let mut boxed = free.boxes.pop().unwrap_or_default();
            boxed.put(job);
            boxed
        }
    }

    /// Takes empty boxes back from a worker.
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

    /// Frees unused boxes. Submitters do so as well; this call is for times without submissions.
    pub(crate) fn shrink(&self, now: Instant) {
        self.free.lock().shrink(now, || self.take_returned());
    }

    fn take_returned(&self) -> Vec<JobBox> {
        std::mem::take(&mut *self.returned.lock())
    }
}

struct FreeList {
    /// The last box is used next, so the first ones are those that are not needed.
    boxes: Vec<JobBox>,
    /// The lowest number of boxes after a refill since the last check.
    fewest: usize,
    /// The number of boxes left at the last check.
    left: usize,
    checked: Option<Instant>,
}

impl Default for FreeList {
    fn default() -> Self {
        Self { boxes: Vec::new(), fewest: usize::MAX, left: 0, checked: None }
    }
}

impl FreeList {
    fn refill(&mut self, returned: &mut Vec<JobBox>) {
        std::mem::swap(&mut self.boxes, returned);
        self.fewest = self.fewest.min(self.boxes.len());
    }

    fn shrink(&mut self, now: Instant, returned: impl FnOnce() -> Vec<JobBox>) {
        let checked = *self.checked.get_or_insert(now);
        if now.saturating_duration_since(checked) < UNUSED {
            return;
        }
        self.checked = Some(now);
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
    use super::{FreeList, JobBox, UNUSED};
    use std::time::Instant;

    /// A second in which `most` boxes are in use at the same time, and return.
    fn a_second(free: &mut FreeList, returned: &mut Vec<JobBox>, now: &mut Instant, most: usize) {
        *now += UNUSED;
        free.shrink(*now, || std::mem::take(returned));
        let out: Vec<_> = (0..most)
            .map(|_| {
                if free.boxes.is_empty() {
                    free.refill(returned);
                }
                free.boxes.pop().unwrap_or_default()
            })
            .collect();
        returned.extend(out);
    }

    #[test]
    fn what_a_burst_needed_goes_and_what_is_used_stays() {
        let (mut free, mut returned, mut now) = (FreeList::default(), Vec::new(), Instant::now());
        let kept = |free: &FreeList, returned: &[JobBox]| free.boxes.len() + returned.len();
        a_second(&mut free, &mut returned, &mut now, 5_000);
        assert_eq!(kept(&free, &returned), 5_000);
        for _ in 0..60 {
            a_second(&mut free, &mut returned, &mut now, 100);
            assert!(kept(&free, &returned) >= 100);
        }
        assert!(kept(&free, &returned) <= 200, "{} are kept", kept(&free, &returned));
        assert!(free.boxes.capacity() <= 400, "room for {}", free.boxes.capacity());
    }

    #[test]
    fn a_steady_need_is_met_by_the_same_boxes() {
        let (mut free, mut returned, mut now) = (FreeList::default(), Vec::new(), Instant::now());
        for _ in 0..10 {
            for _ in 0..50 {
                now += UNUSED / 50;
                free.shrink(now, || std::mem::take(&mut returned));
                let mut out = Vec::new();
                for _ in 0..1_000 {
                    if free.boxes.is_empty() {
                        free.refill(&mut returned);
                    }
                    out.push(free.boxes.pop().unwrap_or_default());
                }
                returned.extend(out);
            }
            assert_eq!(free.boxes.len() + returned.len(), 1_000);
        }
    }

    #[test]
    fn t5_without_traffic_all_go() {
        let (mut free, mut returned, mut now) = (FreeList::default(), Vec::new(), Instant::now());
        a_second(&mut free, &mut returned, &mut now, 5_000);
        for _ in 0..16 {
            a_second(&mut free, &mut returned, &mut now, 0);
        }
        assert_eq!([free.boxes.capacity(), returned.capacity()], [0, 0]);
    }
}
