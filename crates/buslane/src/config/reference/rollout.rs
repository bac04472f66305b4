//! The keys of `rollout`.

use super::{COUNT, DURATION, Row};

pub(super) const NOTES: &str = "
How keys are moved to the actor pool by and by, when that is undone, and who may do it by hand: [rollout.md](rollout.md). Shares
are numbers: `0.05` is 5 %. Both pools are compared over the same time.
";

const SHARE: &str = "number";

pub(super) const ROLLOUT: &[Row] = &[
    (
        "plan",
        "stages such as `10 for 1h, 50 for 1h, 100`",
        "",
        "Stages that begin with the bus: percentages that rise, each with the time for which it is held at least.",
    ),
    ("advance", "`manual` or `automatic`", "manual", "Who begins the next stage of the plan."),
    (
        "guard",
        "`true` or `false`",
        "true",
        "Whether the pools are compared, and all keys go back to the keyed pool when the actor pool does worse.",
    ),
    ("window", DURATION, "1m", "The time over which they are compared; 1 s to 1 h."),
    (
        "min_messages",
        COUNT,
        "1000",
        "Messages of each pool within the window below which nothing is said; at least 1.",
    ),
    (
        "max_p99_increase",
        SHARE,
        "0.2",
        "How far the 99th percentile of the latency may be above that of the keyed pool; above 0, at most 100.",
    ),
    ("max_restart_share", SHARE, "0.05", "Restarts for each message; above 0, at most 1."),
    (
        "max_error_increase",
        SHARE,
        "0.01",
        "How far the share of attempts that fail may be above that of the keyed pool; above 0, at most 1.",
    ),
    (
        "max_memory_growth",
        SHARE,
        "0.5",
        "How far resident memory may be above what it was when the stage began; above 0, at most 100.",
    ),
    ("memory_patience", DURATION, "30m", "For how long it may be there; at most 24 h."),
    (
        "advance_p99_increase",
        SHARE,
        "0.05",
        "How far the 99th percentile may be above for the next stage; at most `max_p99_increase`.",
    ),
    (
        "advance_restart_share",
        SHARE,
        "0.01",
        "Restarts for each message for the next stage; at most `max_restart_share`.",
    ),
    ("check_interval", DURATION, "1s", "Time between two looks; 10 ms to 1 s."),
    (
        "move_deadline",
        DURATION,
        "30s",
        "How long keys wait for a handler that will not end before they go back to the pool they were at; 10 ms to 1 h.",
    ),
    (
        "token",
        "text, 16 to 512 visible ASCII characters",
        "",
        "What `PUT /rollout` must say to be obeyed. Without one it is refused.",
    ),
];
