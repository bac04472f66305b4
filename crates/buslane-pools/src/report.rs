//! What the scheduler reports, as metrics: counts add up, and of the gauges only the latest report
//! counts.

use crate::PoolMetrics;
use buslane_core::Kind;
use buslane_lanes::{Counts, LaneStats, Observer};
use parking_lot::Mutex;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Keeps the metrics of a pool, as soon as they are bound.
pub(crate) struct Report {
    /// Bound when the pool starts: a pool that never runs has no series.
    metrics: OnceLock<PoolMetrics>,
    capacity: usize,
    /// What the gauges show, and the number of the report that it is of.
    latest: Mutex<(u64, LaneStats)>,
}

impl Report {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { metrics: OnceLock::new(), capacity, latest: Mutex::default() }
    }

    pub(crate) fn record_with(&self, metrics: PoolMetrics) {
        let _ = self.metrics.set(metrics);
    }

    pub(crate) fn refused(&self, jobs: u64) {
        if let Some(metrics) = self.metrics.get() {
            metrics.refused(jobs);
        }
    }

    pub(crate) fn latency(&self, latency: Duration) {
        if let Some(metrics) = self.metrics.get() {
            metrics.latency(latency);
        }
    }

    pub(crate) fn restarted(&self) {
        if let Some(metrics) = self.metrics.get() {
            metrics.restarted();
        }
    }

    pub(crate) fn panicked(&self, kind: Kind) {
        if let Some(metrics) = self.metrics.get() {
            metrics.panicked(kind);
        }
    }
}

/// The observer that a scheduler owns.
pub(crate) struct Reporter(pub(crate) Arc<Report>);

impl Observer for Reporter {
    fn changed(&self, number: u64, change: Counts, lanes: LaneStats) {
        let Report { metrics, capacity, latest } = &*self.0;
        let Some(metrics) = metrics.get() else { return };
        metrics.counted(change);
        let mut latest = latest.lock();
        if number > latest.0 {
            metrics.depth(lanes.open - lanes.parked, *capacity);
            metrics.keys(&latest.1, &lanes);
            *latest = (number, lanes);
        }
    }
}
