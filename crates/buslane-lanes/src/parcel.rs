//! A job in a box that is used again.
//!
//! A job is moved about ten times between a submission and its handler. In a box the moves are
//! those of a pointer; the boxes go round, so there is no allocation a message.

use crate::{Item, LaneKind};
use buslane_core::{Job, Route};

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

    /// Puts a job in.
    pub(crate) fn put(&mut self, job: Job) {
        *self.0 = Some(job);
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

    fn kind(&self) -> LaneKind {
        self.as_job().map_or_else(LaneKind::default, Job::kind)
    }
}

impl Item for Job {
    fn lane(&self) -> u64 {
        self.lane
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn kind(&self) -> LaneKind {
        match self.message.route {
            Route::RoundRobin(_) => LaneKind::Keyless,
            _ => LaneKind::Keyed,
        }
    }
}
