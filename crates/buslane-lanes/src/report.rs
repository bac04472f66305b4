//! What the scheduler tells, as metrics: counts add up, and of the gauges only the latest report
//! counts.

use crate::{Counts, LaneStats, Observer, PoolMetrics};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the metrics of a pool.
pub(crate) struct Report {
    metrics: Arc<PoolMetrics>,
    capacity: usize,
    /// What the gauges show, and the number of the report that it is of.
    latest: Mutex<(u64, LaneStats)>,
}

impl Report {
    pub(crate) fn new(metrics: &Arc<PoolMetrics>, capacity: usize) -> Self {
        Self { metrics: Arc::clone(metrics), capacity, latest: Mutex::default() }
    }
}

impl Observer for Report {
    fn changed(&self, number: u64, change: Counts, lanes: LaneStats) {
        self.metrics.counted(change);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if number > latest.0 {
            self.metrics.depth(lanes.open - lanes.parked, self.capacity);
            self.metrics.keys(&latest.1, &lanes);
            *latest = (number, lanes);
        }
    }
}
