//! Latencies as they are recorded: by many at a time, while others look.

use buslane_core::Latencies;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counts of latencies, by bucket. Takes no lock.
pub struct Recorder(Box<[AtomicU64]>);

impl Recorder {
    /// Nothing so far.
    #[must_use]
    pub fn new() -> Self {
        Self((0..Latencies::BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts one.
    pub fn record(&self, latency: Duration) {
        self.0[Latencies::bucket(latency)].fetch_add(1, Relaxed);
    }

    /// All so far.
    #[must_use]
    pub fn counts(&self) -> Latencies {
        let counts: Box<[u64]> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        counts.try_into().map_or_else(|_| Latencies::default(), Latencies::from_counts)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}
