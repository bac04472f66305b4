//! Jobs that change pools: what is taken out of one, and put into the other.

use crate::Job;
use std::time::Instant;

/// A job on its way from one pool to another, with what its lane knew of it.
#[derive(Debug)]
pub struct Moved<T = Job> {
    /// The job.
    pub item: T,
    /// How often it has failed, if it is the first of its lane; zero otherwise.
    pub failures: u32,
    /// How it waits for its next attempt, if it does. One that has failed and does not wait is
    /// about to be tried again.
    pub parked: Option<Parked>,
}

/// How the first job of a lane waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Until when.
    pub until: Instant,
    /// Whether its attempts are used up.
    pub is_blocked: bool,
}

/// What was taken out of a pool.
#[derive(Debug)]
pub struct Taken<T = Job> {
    /// Jobs that had not begun, or wait for an attempt: those of one lane in their order.
    pub moved: Vec<Moved<T>>,
    /// Key hashes that were asked for, and of which a job is running. What they are is not taken;
    /// it may wait for a retry when it ends.
    pub running: Vec<u64>,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        Self { moved: Vec::new(), running: Vec::new() }
    }
}

/// What a submitter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Room for a job of this key hash and of so many bytes.
    Room {
        /// The key hash.
        lane: u64,
        /// The bytes.
        bytes: usize,
    },
    /// That it makes sense to submit more: the workers are not far behind.
    Turn,
}
