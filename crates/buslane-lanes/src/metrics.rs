//! Metrics of a pool: handles bound once, recorded once a batch.
//!
//! Install a recorder before the pool is made: handles bound without one record nothing, for good.

use crate::Counts;
use buslane_core::Kind;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::time::Duration;

/// The metric handles of one pool. Names: `{backend}_eventbus_{pool}_pool_{what}`.
pub struct PoolMetrics {
    sent: Counter,
    processed: Counter,
    failed: Counter,
    latency: Histogram,
    depth: Gauge,
    utilization: Gauge,
    restarted: Counter,
    dead_letters: Counter,
    panics_regular: Counter,
    panics_envelope: Counter,
}

impl PoolMetrics {
    /// Binds the handles of the pool `pool` (`keyed` or `actor`) of a bus on `backend`.
    #[must_use]
    pub fn bind(backend: &str, pool: &str) -> Self {
        let name = |what: &str| format!("{backend}_eventbus_{pool}_pool_{what}");
        let processed = |success: &'static str| counter!(name("messages_processed_total"), "success" => success);
        let panics = |kind: Kind| counter!(name("handler_panics_total"), "kind" => kind.as_str());
        Self {
            sent: counter!(name("messages_sent_total")),
            processed: processed("true"),
            failed: processed("false"),
            latency: histogram!(name("message_latency_seconds")),
            depth: gauge!(name("inbox_depth")),
            utilization: gauge!(name("inbox_utilization")),
            restarted: counter!(name("actor_restarted_total")),
            dead_letters: counter!(name("dead_letters_total")),
            panics_regular: panics(Kind::Regular),
            panics_envelope: panics(Kind::Envelope),
        }
    }

    /// Records nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            sent: Counter::noop(),
            processed: Counter::noop(),
            failed: Counter::noop(),
            latency: Histogram::noop(),
            depth: Gauge::noop(),
            utilization: Gauge::noop(),
            restarted: Counter::noop(),
            dead_letters: Counter::noop(),
            panics_regular: Counter::noop(),
            panics_envelope: Counter::noop(),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn depth(&self, open: usize, capacity: usize) {
        self.depth.set(open as f64);
        self.utilization.set(open as f64 / capacity as f64);
    }

    pub(crate) fn counted(&self, change: Counts) {
        self.sent.increment(change.accepted);
        self.processed.increment(change.ok);
        self.failed.increment(change.failed + change.panicked);
        self.dead_letters.increment(change.abandoned);
    }

    pub(crate) fn latency(&self, latency: Duration) {
        self.latency.record(latency.as_secs_f64());
    }

    pub(crate) fn refused(&self, jobs: u64) {
        self.dead_letters.increment(jobs);
    }

    pub(crate) fn restarted(&self) {
        self.restarted.increment(1);
    }

    pub(crate) fn panicked(&self, kind: Kind) {
        match kind {
            Kind::Regular => self.panics_regular.increment(1),
            Kind::Envelope => self.panics_envelope.increment(1),
        }
    }
}
