//! The list of all metrics of a bus.

use crate::Fault;
use buslane_core::{Label, Metric, MetricKind::*, MetricUnit::*};
use buslane_pools::POOL_METRICS;

/// Upper bounds of histogram buckets for the bus's metrics in seconds: the buckets of
/// OpenTelemetry's conventions, and finer ones below 5 ms, where most handlers are.
pub const SECONDS_BUCKETS: [f64; 20] = [
    0.000_025, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
    0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

const TOPIC: &[Label] = &[Label::Topic];
const TOPIC_AND_KIND: &[Label] = &[Label::Topic, Label::OneOf("kind", &["regular", "envelope"])];
const BACKLOG_SIDE: &[Label] = &[Label::OneOf("side", &["subscriber", "publisher"])];
const LIMITED: &[Label] = &[Label::OneOf("side", &["publish", "subscribe", "recovery"])];
const FAULT: &[Label] = &[Label::OneOf("fault", Fault::NAMES)];
const TRIGGER: &[Label] =
    &[Label::OneOf("trigger", &["latency", "restarts", "errors", "memory", "by_hand"])];
const SHADOW_RESULT: &[Label] = &[Label::OneOf("result", &["same", "different", "dropped"])];
const SHADOW_ROLE: &[Label] = &[Label::OneOf("role", &["handler", "twin"])];
const PARTITION: &[Label] = &[Label::Partition];

pub(super) const PUBLISHED: Metric = Metric::bus(
    "messages_published_total",
    Counter,
    Count("messages"),
    "Records of callers that the broker has acknowledged, without dead letters.",
)
.labelled(TOPIC)
.otel("messaging.client.sent.messages");
pub(super) const PUBLISHES_HELD: Metric = Metric::bus(
    "publishes_held_back_total",
    Counter,
    Count("calls"),
    "Publishes that waited longer than `publish_fast_path`.",
);
pub(super) const CONSUMED: Metric = Metric::bus(
    "messages_consumed_total",
    Counter,
    Count("messages"),
    "Messages read from the broker.",
)
.labelled(TOPIC)
.otel("messaging.client.consumed.messages");
pub(super) const PROCESSING: Metric = Metric::bus(
    "message_processing_seconds",
    Histogram,
    Seconds,
    "Time in the handler, of one attempt in 16.",
)
.labelled(TOPIC)
.otel("messaging.process.duration");
pub(super) const ERRORS: Metric = Metric::bus(
    "processing_errors_total",
    Counter,
    Count("attempts"),
    "Attempts that failed or panicked.",
)
.labelled(TOPIC_AND_KIND);
pub(super) const RETRIES: Metric = Metric::bus(
    "retry_attempts_total",
    Counter,
    Count("attempts"),
    "Failed attempts that are followed by another, also for blocked keys.",
)
.labelled(TOPIC);
pub(super) const DEAD_LETTERS: Metric = Metric::bus(
    "dead_letter_messages_total",
    Counter,
    Count("messages"),
    "Envelopes given up and written to a dead-letter topic, by the topic that they came from.",
)
.labelled(TOPIC);
pub(super) const SKIPPED: Metric = Metric::bus(
    "skipped_messages_total",
    Counter,
    Count("messages"),
    "Envelopes given up by the policy `skip`.",
)
.labelled(TOPIC);
pub(super) const BLOCKED_KEYS: Metric = Metric::bus(
    "blocked_keys",
    Gauge,
    Count("keys"),
    "Keys whose first message is out of attempts: it is retried at the longest backoff, and the key's other messages wait behind it.",
);
pub(super) const UNREADABLE: Metric = Metric::bus(
    "unreadable_headers_total",
    Counter,
    Count("messages"),
    "Messages delivered with unreadable headers, as of the last health check; only on NATS.",
);
pub(super) const STRAGGLERS: Metric = Metric::bus(
    "stragglers",
    Gauge,
    Count("messages"),
    "Messages that are still being handled although their partition belongs to another process, or to none, as of the last health check: another process may handle them too.",
);
pub(super) const LATE_COMPLETIONS: Metric = Metric::bus(
    "late_completions_total",
    Counter,
    Count("messages"),
    "Messages that were done only after their partition had left: the settlement was ignored, and they run again elsewhere. As of the last health check.",
);
pub(super) const LEFT_OUT: Metric = Metric::bus(
    "commit_left_out_total",
    Counter,
    Count("offsets"),
    "Settled offsets above an open one that had no room in the metadata of a commit: a restart may run their messages again. As of the last health check; only on Kafka.",
);
pub(super) const RATE_WAITS: Metric =
    Metric::bus("rate_limit_waits_total", Counter, Count("waits"), "Waits for a rate limit.")
        .labelled(LIMITED);
pub(super) const HELD: Metric = Metric::bus(
    "sources_held",
    Gauge,
    Count("partitions"),
    "Partitions that wait for a handler of their topic.",
);
pub(super) const STALLED: Metric = Metric::bus(
    "sources_stalled",
    Gauge,
    Count("partitions"),
    "Partitions that wait for room in the pool.",
);
pub(super) const STALL: Metric = Metric::bus(
    "partition_stall_seconds",
    Gauge,
    Seconds,
    "How long the partition has waited for room in the pool: updated each time the pool's wait timeout has passed, 0 when reading goes on.",
)
.labelled(PARTITION);
pub(super) const LAG: Metric = Metric::bus(
    "consumer_lag",
    Gauge,
    Count("messages"),
    "Unsettled messages, as of the last answer of the broker, seconds ago. Settled messages above an open one do not count.",
)
.labelled(PARTITION);
pub(super) const LAG_SECONDS: Metric = Metric::bus(
    "consumer_lag_seconds",
    Gauge,
    Seconds,
    "Age of the oldest unsettled message, as of the last answer of the broker, seconds ago.",
)
.labelled(PARTITION);
pub(super) const BACKLOG: Metric = Metric::bus(
    "backlog_detected",
    Gauge,
    Ratio,
    "`subscriber`: 1 while a partition is behind; `publisher`: 0.5 for a warning, 1 when critical.",
)
.labelled(BACKLOG_SIDE);
pub(super) const PUBLISH_DEPTH: Metric = Metric::bus(
    "publish_queue_depth",
    Gauge,
    Count("messages"),
    "Records that the broker has not acknowledged, as of the last backlog check.",
);
pub(super) const PUBLISH_LATENCY: Metric = Metric::bus(
    "publish_latency_seconds",
    Histogram,
    Seconds,
    "Time from the call of a publish to the broker's acknowledgement, waits for a rate limit included, of one call in 16 to each topic.",
);
pub(super) const RECOVERY: Metric = Metric::bus(
    "recovery_mode_active",
    Gauge,
    Ratio,
    "1 while recovery mode is on, its ramp included.",
);
pub(crate) const HEALTH: Metric = Metric::bus(
    "health",
    Gauge,
    Count("condition"),
    "0 healthy, 1 warning, 2 degraded, 3 unhealthy, as of the last health check.",
);
pub(crate) const HEALTH_FAULT: Metric = Metric::bus(
    "health_fault",
    Gauge,
    Count("faults"),
    "Number of present faults by name, as of the last health check.",
)
.labelled(FAULT);

pub(crate) const ROLLOUT_PERCENT: Metric = Metric::bus(
    "rollout_percent",
    Gauge,
    Count("percent"),
    "Share of the keys that belong to the actor pool.",
);
pub(crate) const ROLLOUT_MOVING: Metric = Metric::bus(
    "rollout_slots_moving",
    Gauge,
    Count("slots"),
    "Hash slots, of 1,024, that are moving between the pools.",
);
pub(crate) const ROLLOUT_STUCK: Metric = Metric::bus(
    "rollout_slots_stuck",
    Gauge,
    Count("slots"),
    "Hash slots that stay in their pool for now because a handler did not end within the deadline.",
);
pub(crate) const ROLL_BACKS: Metric = Metric::bus(
    "rollout_roll_backs_total",
    Counter,
    Count("roll-backs"),
    "Roll-backs to 0 %, by their cause.",
)
.labelled(TRIGGER);

pub(super) const RECONNECT_FAILURES: Metric = Metric::bus(
    "reconnect_callback_failures_total",
    Counter,
    Count("calls"),
    "Calls of `on_reconnect` callbacks that failed or panicked.",
);

pub(crate) const SHADOW_MESSAGES: Metric = Metric::bus(
    "shadow_messages_total",
    Counter,
    Count("messages"),
    "Messages chosen to run with a twin of their handler too. `same`, `different`: the outcomes of both; `dropped`: no room for the twin, or one of the two never ended.",
)
.labelled(SHADOW_RESULT);
pub(crate) const SHADOW_LATENCY: Metric = Metric::bus(
    "shadow_latency_seconds",
    Histogram,
    Seconds,
    "Time from acceptance to outcome of compared messages: of the handler, with its retries, and of its twin on the other pool.",
)
.labelled(SHADOW_ROLE);

const BUS_METRICS: &[Metric] = &[
    PUBLISHED,
    PUBLISHES_HELD,
    CONSUMED,
    PROCESSING,
    ERRORS,
    RETRIES,
    DEAD_LETTERS,
    SKIPPED,
    BLOCKED_KEYS,
    UNREADABLE,
    STRAGGLERS,
    LATE_COMPLETIONS,
    LEFT_OUT,
    RATE_WAITS,
    HELD,
    STALLED,
    STALL,
    LAG,
    LAG_SECONDS,
    BACKLOG,
    PUBLISH_DEPTH,
    PUBLISH_LATENCY,
    RECOVERY,
    HEALTH,
    HEALTH_FAULT,
    ROLLOUT_PERCENT,
    ROLLOUT_MOVING,
    ROLLOUT_STUCK,
    ROLL_BACKS,
    RECONNECT_FAILURES,
    SHADOW_MESSAGES,
    SHADOW_LATENCY,
];

/// All metrics of a bus and its pool, in the order of the documentation.
///
/// ```
/// let lag = buslane::metrics::all().find(|metric| metric.name == "consumer_lag");
/// assert!(lag.is_some_and(|metric| metric.is_per_partition()));
/// ```
pub fn all() -> impl Iterator<Item = &'static Metric> + Clone {
    BUS_METRICS.iter().chain(POOL_METRICS)
}
