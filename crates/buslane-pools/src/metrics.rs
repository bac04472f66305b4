//! Metrics of a pool: handles bound once, recorded once a batch.
//!
//! Install a recorder before the pool is made: handles bound without one record nothing, for good.

mod catalogue;

pub use catalogue::POOL_METRICS;

use buslane_core::{Binder, Kind};
use buslane_lanes::{Counts, LaneStats};
use metrics::{Counter, Gauge, Histogram};
use std::time::Duration;

/// The metric handles of one pool. Names: `{backend}_eventbus_{pool}_pool_{what}`.
///
/// The figures of keys are of the bus, `{backend}_eventbus_processors_{what}`: pools of one bus add
/// theirs together.
pub struct PoolMetrics {
    sent: Counter,
    processed: Counter,
    failed: Counter,
    latency: Histogram,
    depth: Gauge,
    utilization: Gauge,
    restarted: Counter,
    dead_letters: Counter,
    keys: Gauge,
    keys_active: Gauge,
    keys_idle: Gauge,
    panics_regular: Counter,
    panics_envelope: Counter,
}

impl PoolMetrics {
    /// Binds the handles of the pool `pool` (`keyed` or `actor`) of a bus on `backend`.
    #[must_use]
    pub fn bind(backend: &str, pool: &str) -> Self {
        let (of_pool, of_bus) = (Binder::pool(backend, pool), Binder::bus(backend));
        Self {
            sent: of_pool.counter(&catalogue::SENT),
            processed: of_pool.counter_of(&catalogue::PROCESSED, "true"),
            failed: of_pool.counter_of(&catalogue::PROCESSED, "false"),
            latency: of_pool.histogram(&catalogue::LATENCY),
            depth: of_pool.gauge(&catalogue::DEPTH),
            utilization: of_pool.gauge(&catalogue::UTILIZATION),
            restarted: of_pool.counter(&catalogue::RESTARTED),
            dead_letters: of_pool.counter(&catalogue::DEAD_LETTERS),
            keys: of_bus.gauge(&catalogue::KEYS),
            keys_active: of_bus.gauge(&catalogue::KEYS_ACTIVE),
            keys_idle: of_bus.gauge(&catalogue::KEYS_IDLE),
            panics_regular: of_pool.counter_of(&catalogue::PANICS, Kind::Regular.as_str()),
            panics_envelope: of_pool.counter_of(&catalogue::PANICS, Kind::Envelope.as_str()),
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
            keys: Gauge::noop(),
            keys_active: Gauge::noop(),
            keys_idle: Gauge::noop(),
            panics_regular: Counter::noop(),
            panics_envelope: Counter::noop(),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn depth(&self, open: usize, capacity: usize) {
        self.depth.set(open as f64);
        self.utilization.set(open as f64 / capacity as f64);
    }

    /// The lanes stood otherwise before.
    pub(crate) fn keys(&self, before: &LaneStats, now: &LaneStats) {
        step(&self.keys_active, before.lanes, now.lanes);
        step(&self.keys_idle, before.idle_lanes, now.idle_lanes);
        step(&self.keys, before.lanes + before.idle_lanes, now.lanes + now.idle_lanes);
    }

    pub(crate) fn counted(&self, change: Counts) {
        add(&self.sent, change.accepted);
        add(&self.processed, change.ok);
        add(&self.failed, change.failed + change.panicked);
        add(&self.dead_letters, change.abandoned);
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

/// Workers share the counters: nothing is not worth a cache line.
fn add(counter: &Counter, messages: u64) {
    if messages > 0 {
        counter.increment(messages);
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn step(gauge: &Gauge, before: usize, now: usize) {
    if now > before {
        gauge.increment((now - before) as f64);
    } else if now < before {
        gauge.decrement((before - now) as f64);
    }
}
