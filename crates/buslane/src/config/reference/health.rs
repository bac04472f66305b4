//! The keys of `health`.

use super::{BYTES, COUNT, DURATION, Row};

pub(super) const NOTES: &str = "
From when on something counts as a fault. A duration of 0 names it as soon as it is seen. What each fault says and what to do
about it: [operations.md](operations.md#health).
";

pub(super) const HEALTH: &[Row] = &[
    (
        "check_interval",
        DURATION,
        "1s",
        "Time between two looks, and between two questions to the broker whether it is there; 10 ms to 10 s.",
    ),
    ("handler_limit", DURATION, "1m", "One attempt of a handler that takes longer is stuck."),
    (
        "partition_limit",
        DURATION,
        "5s",
        "A partition that holds messages and gives none for longer is dead.",
    ),
    (
        "broker_limit",
        DURATION,
        "5s",
        "A broker that is away, or does not answer, for longer is gone, or silent.",
    ),
    (
        "settlement_limit",
        DURATION,
        "5s",
        "Settlements that the broker has refused for longer are a fault.",
    ),
    ("group_limit", DURATION, "30s", "A group that has not come to rest for longer is not stable."),
    (
        "pool_limit",
        DURATION,
        "5s",
        "A source that has found no room in the pool for longer: the pool is full.",
    ),
    (
        "pause_limit",
        DURATION,
        "1h",
        "A topic that is paused, or has no handler, for longer is a warning.",
    ),
    (
        "restarts",
        COUNT,
        "10",
        "So many restarts of actors within a minute are a storm; at most 10000, 0 for no such limit. An actor that cools down is one in any case.",
    ),
    (
        "memory",
        BYTES,
        "0",
        "A process whose resident memory is larger has hit its ceiling; 0 for none. Read on Linux alone.",
    ),
    (
        "probe.enabled",
        "`true` or `false`",
        "false",
        "Whether the bus publishes messages to a topic which it reads itself, to see that both ways are open.",
    ),
    ("probe.topic", "topic name", "buslane.health", "That topic; all groups may share it."),
    ("probe.interval", DURATION, "30s", "Time between two of them; 10 ms to 1 h."),
    (
        "probe.limit",
        DURATION,
        "90s",
        "When none was acknowledged, or none came back, for longer, that is a fault; more than `probe.interval`.",
    ),
];
