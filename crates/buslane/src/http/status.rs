//! `/status`: the health and the state of a bus.

use crate::{EventBus, Health};
use serde::Serialize;
use time::OffsetDateTime;

/// The JSON document.
#[derive(Serialize)]
pub(super) struct Report {
    health: Health,
    backend: &'static str,
    group: String,
    pool: &'static str,
    closed: bool,
    held_topics: Vec<String>,
    stalled_partitions: Vec<Stalled>,
    blocked: Vec<Blocked>,
    blocked_keys: usize,
    backlog: Vec<Behind>,
    publish_backlog: Publishing,
    recovery: Recovery,
}

#[derive(Serialize)]
struct Stalled {
    topic: String,
    partition: u32,
    reason: String,
    key: Option<String>,
}

#[derive(Serialize)]
struct Blocked {
    key: String,
    topic: String,
    partition: u32,
    offset: u64,
    attempts: u32,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    error: String,
}

#[derive(Serialize)]
struct Behind {
    topic: String,
    partition: u32,
    messages: u64,
    seconds: Option<f64>,
}

#[derive(Serialize)]
struct Publishing {
    severity: &'static str,
    depth: u64,
    latency_seconds: f64,
}

#[derive(Serialize)]
struct Recovery {
    phase: &'static str,
    cause: Option<&'static str>,
    per_second: Option<u32>,
    keys: Option<usize>,
}

impl Report {
    pub(super) fn of(bus: &EventBus) -> Self {
        let (status, recovery) = (bus.status(), bus.recovery().status());
        let stalled = status.stalled_partitions.into_iter().map(|stalled| Stalled {
            topic: stalled.topic.to_string(),
            partition: stalled.partition,
            reason: stalled.reason,
            key: stalled.key,
        });
        let blocked = status.blocked.into_iter().map(|blocked| Blocked {
            key: blocked.key,
            topic: blocked.topic.to_string(),
            partition: blocked.partition,
            offset: blocked.offset,
            attempts: blocked.attempts,
            since: blocked.since,
            error: blocked.error,
        });
        let behind = status.backlog.into_iter().map(|behind| Behind {
            topic: behind.topic.to_string(),
            partition: behind.partition,
            messages: behind.messages,
            seconds: behind.age.map(|age| age.as_secs_f64()),
        });
        Self {
            health: bus.health(),
            backend: bus.backend().as_str(),
            group: bus.config().group.clone(),
            pool: status.pool,
            closed: status.closed,
            held_topics: status.held_topics.iter().map(ToString::to_string).collect(),
            stalled_partitions: stalled.collect(),
            blocked: blocked.collect(),
            blocked_keys: status.blocked_keys,
            backlog: behind.collect(),
            publish_backlog: Publishing {
                severity: status.publish_backlog.severity.as_str(),
                depth: status.publish_backlog.depth,
                latency_seconds: status.publish_backlog.latency.as_secs_f64(),
            },
            recovery: Recovery {
                phase: recovery.phase.as_str(),
                cause: recovery.cause.map(|cause| cause.as_str()),
                per_second: recovery.per_second,
                keys: recovery.keys,
            },
        }
    }
}
