//! A job in a box that is used again.
//!
//! A job is moved about ten times between a submission and its handler. In a box the moves are those of a pointer;
//! the boxes go round, so there is no allocation a message.

use crate::{Item, sync::Mutex};
use buslane_core::Job;

/// A job on its way, or an empty box.
#[derive(Default)]
pub(crate) struct Parcel(Box<Option<Job>>);

impl Parcel {
    /// The job; none when the box is empty.
    pub(crate) fn job(&mut self) -> Option<&mut Job> {
        self.0.as_mut().as_mut()
    }

    /// As [`Parcel::job`], to look at.
    pub(crate) fn as_job(&self) -> Option<&Job> {
        self.0.as_ref().as_ref()
    }

    /// Takes the job out.
    pub(crate) fn take(&mut self) -> Option<Job> {
        self.0.take()
    }

    /// Drops the job.
    pub(crate) fn empty(&mut self) {
        *self.0 = None;
    }
}

impl Item for Parcel {
    fn lane(&self) -> u64 {
        self.as_job().map_or(0, |job| job.lane)
    }

    fn bytes(&self) -> usize {
        self.as_job().map_or(0, Job::bytes)
    }
}

impl Item for Job {
    fn lane(&self) -> u64 {
        self.lane
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }
}

/// Empty boxes that are kept at most, on either side. The rest goes back to the allocator.
const KEPT: usize = 8_192;

/// Empty boxes on their way back from the workers to the submitters.
///
/// Order of locks: `stash`, then that of the scheduler, then `returned`.
#[derive(Default)]
pub(crate) struct Boxes {
    /// The submitters'.
    stash: Mutex<Vec<Parcel>>,
    /// What workers gave back since.
    returned: Mutex<Vec<Parcel>>,
}

impl Boxes {
    /// What packs jobs into boxes. Submitters take turns.
    pub(crate) fn packer(&self) -> impl FnMut(Job) -> Parcel {
        let mut stash = self.stash.lock();
        move |job| {
            if stash.is_empty() {
                std::mem::swap(&mut *stash, &mut *self.returned.lock());
            }
            let mut parcel = stash.pop().unwrap_or_default();
            *parcel.0 = Some(job);
            parcel
        }
    }

    /// Takes empty boxes back.
    pub(crate) fn put(&self, boxes: &mut Vec<Parcel>) {
        let mut returned = self.returned.lock();
        let room = KEPT.saturating_sub(returned.len()).min(boxes.len());
        returned.extend(boxes.drain(..room));
        drop(returned);
        boxes.clear();
    }
}
