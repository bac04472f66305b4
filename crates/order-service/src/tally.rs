//! The figures of a run: counts, and a histogram of latencies.

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Latencies are kept in microseconds up to an hour, to three digits.
const HOUR_US: u64 = 3_600_000_000;
const SHARDS: usize = 4;

/// Counts of what has happened so far.
pub(crate) struct Tally {
    pub(crate) published: AtomicU64,
    /// Messages whose handler said done, each counted once.
    pub(crate) handled: AtomicU64,
    pub(crate) failed_attempts: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    /// Regular messages whose handler failed, which is final.
    pub(crate) dropped: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    /// Messages that some other run has published.
    pub(crate) foreign: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    latency: [Mutex<Histogram<u64>>; SHARDS],
}

/// The counts of one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) handled: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) dropped: u64,
    pub(crate) violations: u64,
    pub(crate) duplicates: u64,
    pub(crate) foreign: u64,
    /// From the first to the last thing that happened.
    pub(crate) seconds: f64,
}

impl Counts {
    /// Messages with which everything is over.
    pub(crate) const fn ended(&self) -> u64 {
        self.handled + self.dead_lettered + self.dropped
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, HOUR_US, 3).expect("constant bounds that are in order")
        };
        Self {
            published: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            violations: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            first_ns: AtomicU64::new(u64::MAX),
            last_ns: AtomicU64::new(0),
            latency: std::array::from_fn(|_| Mutex::new(histogram())),
        }
    }

    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Something happened: seconds are counted from the first to the last of these.
    pub(crate) fn happened(&self, now_ns: u64) {
        if self.first_ns.load(Relaxed) > now_ns {
            self.first_ns.fetch_min(now_ns, Relaxed);
        }
        self.last_ns.fetch_max(now_ns, Relaxed);
    }

    /// When something last happened, 0 for never.
    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns.load(Relaxed)
    }

    /// `messages` took `ns` each.
    pub(crate) fn took(&self, ns: u64, messages: u64) {
        // The last digits of a time are as good as a random shard.
        let shard = usize::try_from(ns).unwrap_or(0) % SHARDS;
        self.latency[shard].lock().saturating_record_n(ns / 1000, messages);
    }

    pub(crate) fn latencies(&self) -> Histogram<u64> {
        let mut all = self.latency[0].lock().clone();
        for shard in &self.latency[1..] {
            all.add(&*shard.lock()).expect("histograms of the same bounds");
        }
        all
    }

    pub(crate) fn counts(&self) -> Counts {
        let (first, last) = (self.first_ns.load(Relaxed), self.last_ns.load(Relaxed));
        // What ended is read before what was published, which is at least as much.
        let (handled, dead_lettered) =
            (self.handled.load(Relaxed), self.dead_lettered.load(Relaxed));
        let dropped = self.dropped.load(Relaxed);
        Counts {
            handled,
            dead_lettered,
            dropped,
            published: self.published.load(Relaxed),
            failed_attempts: self.failed_attempts.load(Relaxed),
            violations: self.violations.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            foreign: self.foreign.load(Relaxed),
            seconds: std::time::Duration::from_nanos(last.saturating_sub(first)).as_secs_f64(),
        }
    }
}

/// A percentile in milliseconds.
#[allow(clippy::cast_precision_loss, reason = "an hour in microseconds fits a double exactly")]
pub(crate) fn percentile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}
