//! The keys of `limits`, `backlog` and `recovery`.

use super::{COUNT, DURATION, Row};

pub(super) const NOTES: &str = "
A limit of `limits.topics` looks as `{ orders: { subscribe: { per_second: 500, burst: 50 } } }` and holds beside the one of the
bus. `per_second` is 1000 and `burst` 100 where a limit leaves them out. Timers tick in milliseconds: with a burst of less than
a thousandth of `per_second` less is let through. How to choose the figures: [operations.md](operations.md#rates).
";

pub(super) const OPERATIONS: &[Row] = &[
    (
        "limits.publish.per_second",
        COUNT,
        "",
        "Messages a second that this bus publishes; 1 to 10000000.",
    ),
    ("limits.publish.burst", COUNT, "", "Messages at once after a pause; at least 1."),
    (
        "limits.subscribe.per_second",
        COUNT,
        "",
        "Messages a second that this bus handles; 1 to 10000000.",
    ),
    ("limits.subscribe.burst", COUNT, "", "Messages at once after a pause; at least 1."),
    (
        "limits.topics",
        "table of topics, each with `publish`, `subscribe` or both",
        "{}",
        "Limits of single topics. A subscription's own rate takes the place of its `subscribe`.",
    ),
    ("backlog.check_interval", DURATION, "30s", "Time between two looks; 1 ms to 1 h."),
    (
        "backlog.messages",
        COUNT,
        "10000",
        "A partition with more messages that are not settled is behind; 0 for no such limit.",
    ),
    (
        "backlog.age",
        DURATION,
        "5m",
        "A partition whose oldest unsettled message is older is behind; 0 for no such limit.",
    ),
    (
        "backlog.publish_depth",
        COUNT,
        "10000",
        "Records on their way to the broker that are critical, half of them a warning; 0 for no such limit.",
    ),
    (
        "backlog.publish_latency",
        DURATION,
        "5s",
        "Mean time to an acknowledgement that is critical, half of it a warning; 0 for no such limit.",
    ),
    (
        "recovery.at_start",
        "`auto`, `always` or `never`",
        "auto",
        "When a bus begins in recovery mode. With `auto` each source is looked at before its first message is handled, and a backlog begins it.",
    ),
    (
        "recovery.on_backlog",
        "`true` or `false`",
        "true",
        "Whether a backlog that comes up later begins it too.",
    ),
    (
        "recovery.rate.per_second",
        COUNT,
        "",
        "Messages a second that are handled while it is on; 1 to 10000000. Without `recovery.rate` as many as handlers take.",
    ),
    (
        "recovery.rate.burst",
        COUNT,
        "",
        "Messages at once after a pause while it is on; at least 1.",
    ),
    ("recovery.keys", COUNT, "1000", "Keys with work at the same time while it is on; at least 1."),
    (
        "recovery.clean_checks",
        COUNT,
        "3",
        "Looks in a row without a backlog after which it ends; at least 1.",
    ),
    (
        "recovery.ramp",
        DURATION,
        "1m",
        "How long its limits are raised before they go; 0 for at once, at most 24 h.",
    ),
];
