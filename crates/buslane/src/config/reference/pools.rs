//! The keys of both pools.

use super::{BYTES, COUNT, DURATION, Row};

pub(super) const KEYED: &[Row] = &[
    ("worker_count", COUNT, "256", "Handlers that run at the same time; 1 to 65536."),
    (
        "queue_size",
        COUNT,
        "1000",
        "Messages per worker: the pool holds `worker_count` x `queue_size` open messages; at least 1.",
    ),
    WAIT_TIMEOUT,
    LANE_LIMIT,
    MAX_BYTES,
    PARKED_MESSAGES,
    PARKED_BYTES,
    MAX_PROCESSORS,
    PROCESSOR_IDLE,
    (
        "mode",
        "`exclusive` or `fixed`",
        "exclusive",
        "A lane of its own for each key with work, or as many lanes as workers, chosen by hash.",
    ),
];

pub(super) const ACTOR: &[Row] = &[
    (
        "enabled",
        "`true` or `false`",
        "false",
        "Whether this pool runs the lanes instead of the keyed pool.",
    ),
    (
        "percent",
        "integer",
        "",
        "Share of the keys that it runs when it is enabled, 0 to 100; the keyed pool has the others. Left out: 100 when it is enabled, else 0.",
    ),
    ("pool_size", COUNT, "256", "Actors, each of which runs one handler at a time; 1 to 65536."),
    (
        "inbox_size",
        COUNT,
        "1000",
        "Messages per actor: the pool holds `pool_size` x `inbox_size` open messages; at least 1.",
    ),
    (
        "max_restarts",
        COUNT,
        "3",
        "Restarts that one actor is given within `restart_window`; 0 means none.",
    ),
    ("restart_window", DURATION, "1m", "Window in which restarts are counted; above zero."),
    (
        "cool_down",
        DURATION,
        "30s",
        "How long an actor that used up its restarts stays out before it is tried again; above zero.",
    ),
    WAIT_TIMEOUT,
    LANE_LIMIT,
    MAX_BYTES,
    PARKED_MESSAGES,
    PARKED_BYTES,
    MAX_PROCESSORS,
    PROCESSOR_IDLE,
];

const WAIT_TIMEOUT: Row = (
    "wait_timeout",
    DURATION,
    "500ms",
    "How long a submission waits for room before the broker is told to stop reading.",
);
const LANE_LIMIT: Row =
    ("lane_limit", COUNT, "1000", "Most open messages of one lane; at least 1.");
const MAX_BYTES: Row = (
    "max_bytes",
    BYTES,
    "201326592",
    "Most bytes of all open messages that are not parked; at least 1.",
);
const PARKED_MESSAGES: Row = (
    "parked_messages",
    COUNT,
    "64000",
    "Most messages that wait behind failing keys, counted apart; at least 1.",
);
const PARKED_BYTES: Row = (
    "parked_bytes",
    BYTES,
    "67108864",
    "Most bytes that wait behind failing keys, counted apart; at least 1.",
);

const MAX_PROCESSORS: Row = (
    "max_processors",
    COUNT,
    "10000",
    "Keys whose state is kept, those with messages among them: beyond this the longest idle one is forgotten; 0 keeps none that is idle.",
);
const PROCESSOR_IDLE: Row = (
    "processor_idle",
    DURATION,
    "5m",
    "Longest time for which the state of a key without messages is kept; above zero.",
);
