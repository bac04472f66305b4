//! What a pool counts.

use std::ops::AddAssign;

/// Figures of a pool. Counts since start; gauges of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Jobs taken.
    pub accepted: u64,
    /// Jobs that ended well.
    pub ok: u64,
    /// Jobs that ended in a failure.
    pub failed: u64,
    /// Jobs that ended in a panic.
    pub panicked: u64,
    /// Jobs dropped before they ended.
    pub abandoned: u64,
    /// Jobs that another pool went on with.
    pub moved: u64,
    /// Attempts that failed and are followed by another.
    pub retried: u64,
    /// Panics of handlers, of every attempt.
    pub panics: u64,
    /// Workers restarted by a supervisor.
    pub restarts: u64,
    /// Jobs taken and not ended.
    pub open: usize,
    /// Bytes of the open jobs.
    pub open_bytes: usize,
    /// Open jobs that wait behind a failing key.
    pub parked: usize,
    /// Lanes that wait for a retry.
    pub parked_lanes: usize,
    /// Of these, lanes whose key is blocked: out of attempts.
    pub blocked_lanes: usize,
    /// Lanes with work.
    pub lanes: usize,
    /// Lanes without, whose state is kept.
    pub idle_lanes: usize,
    /// Jobs the pool can hold besides the parked ones.
    pub capacity: usize,
    /// Workers.
    pub workers: usize,
    /// Workers that cool down after too many restarts.
    pub workers_down: usize,
}

impl AddAssign for PoolStats {
    /// The figures of two pools that work beside each other.
    fn add_assign(&mut self, other: Self) {
        let Self {
            accepted,
            ok,
            failed,
            panicked,
            abandoned,
            moved,
            retried,
            panics,
            restarts,
            open,
            open_bytes,
            parked,
            parked_lanes,
            blocked_lanes,
            lanes,
            idle_lanes,
            capacity,
            workers,
            workers_down,
        } = other;
        self.accepted += accepted;
        self.ok += ok;
        self.failed += failed;
        self.panicked += panicked;
        self.abandoned += abandoned;
        self.moved += moved;
        self.retried += retried;
        self.panics += panics;
        self.restarts += restarts;
        self.open += open;
        self.open_bytes += open_bytes;
        self.parked += parked;
        self.parked_lanes += parked_lanes;
        self.blocked_lanes += blocked_lanes;
        self.lanes += lanes;
        self.idle_lanes += idle_lanes;
        self.capacity += capacity;
        self.workers += workers;
        self.workers_down += workers_down;
    }
}
