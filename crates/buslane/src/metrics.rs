//! Metrics of a bus: handles bound once. Names: `{backend}_eventbus_{what}`.
//!
//! Install a recorder before the bus connects: handles bound without one record nothing, for good.

use buslane_core::{Backend, Kind};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::time::Duration;

/// The metric handles of one bus.
pub(crate) struct BusMetrics {
    published: Counter,
    publishes_held: Counter,
    consumed: Counter,
    processing: Histogram,
    errors_regular: Counter,
    errors_envelope: Counter,
    dead_letters: Counter,
    skipped: Counter,
    retries: Counter,
    held: Gauge,
    stalled: Gauge,
    recovery: Gauge,
}

impl BusMetrics {
    pub(crate) fn bind(backend: Backend) -> Self {
        let name = |what: &str| format!("{backend}_eventbus_{what}");
        let errors = |kind: Kind| counter!(name("processing_errors_total"), "kind" => kind.as_str());
        Self {
            published: counter!(name("messages_published_total")),
            publishes_held: counter!(name("publishes_held_back_total")),
            consumed: counter!(name("messages_consumed_total")),
            processing: histogram!(name("message_processing_seconds")),
            errors_regular: errors(Kind::Regular),
            errors_envelope: errors(Kind::Envelope),
            dead_letters: counter!(name("dead_letter_messages_total")),
            skipped: counter!(name("skipped_messages_total")),
            retries: counter!(name("retry_attempts_total")),
            held: gauge!(name("sources_held")),
            stalled: gauge!(name("sources_stalled")),
            recovery: gauge!(name("recovery_mode_active")),
        }
    }

    /// Records that the broker has acknowledged.
    pub(crate) fn published(&self, records: u64) {
        self.published.increment(records);
    }

    /// A publish waited longer than the fast path.
    pub(crate) fn publish_held(&self) {
        self.publishes_held.increment(1);
    }

    /// Messages read from the broker and routed.
    pub(crate) fn consumed(&self, messages: u64) {
        self.consumed.increment(messages);
    }

    /// Time of one attempt in its handler; sampled.
    pub(crate) fn processing(&self, time: Duration) {
        self.processing.record(time.as_secs_f64());
    }

    /// An attempt failed.
    pub(crate) fn error(&self, kind: Kind) {
        match kind {
            Kind::Regular => self.errors_regular.increment(1),
            Kind::Envelope => self.errors_envelope.increment(1),
        }
    }

    /// A dead letter was written.
    pub(crate) fn dead_letter(&self) {
        self.dead_letters.increment(1);
    }

    /// An envelope was given up by the policy `skip`.
    pub(crate) fn skipped(&self) {
        self.skipped.increment(1);
    }

    /// A failed attempt is followed by another.
    pub(crate) fn retry(&self) {
        self.retries.increment(1);
    }

    /// A source waits for its handler, or does not any more.
    pub(crate) fn held(&self, held: bool) {
        step(&self.held, held);
    }

    /// A source waits for room longer than the wait timeout, or does not any more.
    pub(crate) fn stalled(&self, stalled: bool) {
        step(&self.stalled, stalled);
    }

    /// Recovery mode is on, or not.
    pub(crate) fn recovery(&self, active: bool) {
        self.recovery.set(f64::from(u8::from(active)));
    }
}

impl Drop for BusMetrics {
    fn drop(&mut self) {
        self.recovery(false);
    }
}

fn step(gauge: &Gauge, up: bool) {
    if up {
        gauge.increment(1);
    } else {
        gauge.decrement(1);
    }
}
