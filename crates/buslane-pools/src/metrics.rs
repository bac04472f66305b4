//! The metrics of a pool: handles that are bound once and recorded once a batch, the observer that
//! receives the scheduler's reports, and the recorder of latencies.
//!
//! Install a metrics recorder before the pool starts: a handle that is bound without one never
//! records anything.

mod catalogue;

pub use catalogue::POOL_METRICS;

use buslane_core::{Binder, Kind, Latencies};
use buslane_lanes::{Counts, LaneStats, Observer};
use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The metric handles of one pool. Names: `{backend}_eventbus_{pool}_pool_{what}`.
///
/// The metrics of keys belong to the bus, `{backend}_eventbus_processors_{what}`: the pools of a
/// bus add to the same gauges.
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

    /// Handles that record nothing.
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

    /// Adds the change from `before` to `now`, because several pools share the gauges.
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

/// Skips an increment of zero, because workers share the cache line of a counter.
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

/// The metrics of a pool, once they are bound, and the latest report of its scheduler. Counts add
/// up; of the gauges, only the latest report is shown.
pub(crate) struct MetricsReport {
    /// Bound when the pool starts, so that a pool that never runs has no series.
    metrics: OnceLock<PoolMetrics>,
    capacity: usize,
    /// The number of the latest report, and the state that the gauges show.
    latest: Mutex<(u64, LaneStats)>,
}

impl MetricsReport {
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

/// The observer of a scheduler, which records its reports as metrics.
pub(crate) struct MetricsObserver(pub(crate) Arc<MetricsReport>);

impl Observer for MetricsObserver {
    fn changed(&self, number: u64, change: Counts, lanes: LaneStats) {
        let MetricsReport { metrics, capacity, latest } = &*self.0;
        let Some(metrics) = metrics.get() else { return };
        metrics.counted(change);
        let mut latest = latest.lock();
        if number > latest.0 {
            metrics.depth(lanes.open - lanes.failing, *capacity);
            metrics.keys(&latest.1, &lanes);
            *latest = (number, lanes);
        }
    }
}

/// Records latencies by bucket, from many threads, without a lock.
///
/// ```
/// use buslane_pools::LatencyRecorder;
/// use std::time::Duration;
///
/// let recorder = LatencyRecorder::new();
/// recorder.record(Duration::from_millis(3));
/// assert_eq!(recorder.counts().count(), 1);
/// ```
pub struct LatencyRecorder(Box<[AtomicU64]>);

impl LatencyRecorder {
    /// A recorder without latencies.
    #[must_use]
    pub fn new() -> Self {
        Self((0..Latencies::BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Records a latency.
    pub fn record(&self, latency: Duration) {
        self.0[Latencies::bucket(latency)].fetch_add(1, Relaxed);
    }

    /// A snapshot of the latencies so far.
    #[must_use]
    pub fn counts(&self) -> Latencies {
        let counts: Box<[u64]> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        counts.try_into().map_or_else(|_| Latencies::default(), Latencies::from_counts)
    }
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self::new()
    }
}
