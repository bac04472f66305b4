//! The definitions of all metrics of a pool.

use buslane_core::{Label, Metric, MetricKind::*, MetricUnit::*};

const KIND: &[Label] = &[Label::OneOf("kind", &["regular", "envelope"])];
const SUCCESS: &[Label] = &[Label::OneOf("success", &["true", "false"])];

pub(super) const SENT: Metric =
    Metric::pool("messages_sent_total", Counter, Count("messages"), "Jobs the pool took.");
pub(super) const PROCESSED: Metric = Metric::pool(
    "messages_processed_total",
    Counter,
    Count("messages"),
    "Jobs that ended; a panic counts as not successful.",
)
.labelled(SUCCESS);
pub(super) const LATENCY: Metric = Metric::pool(
    "message_latency_seconds",
    Histogram,
    Seconds,
    "From taken by the pool to ended, of the first job of each batch and of every job whose handler waits.",
);
pub(super) const DEPTH: Metric = Metric::pool(
    "inbox_depth",
    Gauge,
    Count("messages"),
    "Open jobs that can run: those that wait for a retry, or behind one, are not among them.",
);
pub(super) const UTILIZATION: Metric = Metric::pool(
    "inbox_utilization",
    Gauge,
    Ratio,
    "Open jobs that can run, as a share of the pool's capacity.",
);
pub(super) const RESTARTED: Metric = Metric::pool(
    "actor_restarted_total",
    Counter,
    Count("restarts"),
    "Workers that their supervisor has restarted; always 0 for keyed workers, which are never restarted.",
);
pub(super) const DEAD_LETTERS: Metric = Metric::pool(
    "dead_letters_total",
    Counter,
    Count("messages"),
    "Jobs the pool refused for good or abandoned: left for redelivery.",
);
pub(super) const PANICS: Metric = Metric::pool(
    "handler_panics_total",
    Counter,
    Count("panics"),
    "Panics of handlers, each attempt by itself.",
)
.labelled(KIND);
pub(super) const KEYS: Metric =
    Metric::bus("processors_total", Gauge, Count("keys"), "Keys that are known.");
pub(super) const KEYS_ACTIVE: Metric =
    Metric::bus("processors_active", Gauge, Count("keys"), "Known keys that have messages.");
pub(super) const KEYS_IDLE: Metric =
    Metric::bus("processors_idle", Gauge, Count("keys"), "Known keys without messages.");

/// The metrics of pools, in the order of the documentation. The metrics of keys belong to the bus:
/// its pools add to the same gauges.
pub const POOL_METRICS: &[Metric] = &[
    SENT,
    PROCESSED,
    LATENCY,
    DEPTH,
    UTILIZATION,
    RESTARTED,
    DEAD_LETTERS,
    PANICS,
    KEYS,
    KEYS_ACTIVE,
    KEYS_IDLE,
];
