//! Settings of the two pools.

use buslane_settings::{
    BrokenRule, above_zero, at_least, at_most, choices,
    duration::{millis, minutes, secs},
    kind, range, settings, variables,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MIB: usize = 1024 * 1024;
const BYTES: &str = "integer, bytes";
/// The most workers or actors of a pool.
const MAX_WORKERS: usize = 65_536;
/// The largest capacity of a pool, in messages.
pub(super) const MAX_CAPACITY: usize = u32::MAX as usize;

/// How the keyed pool places keys in lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaneMode {
    /// Each key with work has a lane of its own, and any worker may run it. The default.
    #[default]
    Exclusive,
    /// As many lanes as workers; a key's lane is its hash modulo the number of workers.
    Fixed,
}

choices!(LaneMode);

/// Variables of a setting of the actor pool. Those of each backend win over `BUSLANE_`.
macro_rules! of_pools {
    ($name:literal) => {
        variables(&[
            concat!("MEMORY_", $name),
            concat!("KAFKA_", $name),
            concat!("NATS_", $name),
            concat!("BUSLANE_", $name),
        ])
    };
}

settings! {
    /// Settings of the keyed-worker pool.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct KeyedPoolConfig {
        /// Handlers that run at the same time.
        worker_count: usize = 256, at_most(MAX_WORKERS), at_least(1);
        /// Messages per worker: the pool holds `worker_count` x `queue_size` open messages.
        queue_size: usize = 1_000, at_least(1);
        /// How long a submission waits for room before the broker is told to stop reading.
        wait_timeout: Duration = millis(500);
        /// Most open messages of one lane.
        lane_limit: usize = 1_000, at_least(1);
        /// Most bytes of all open messages, those of failing keys excluded.
        max_bytes: usize = 192 * MIB, kind(BYTES), at_least(1);
        /// Most messages that wait behind failing keys, counted apart.
        failing_messages: usize = 64_000, at_least(1);
        /// Most bytes that wait behind failing keys, counted apart.
        failing_bytes: usize = 64 * MIB, kind(BYTES), at_least(1);
        /// Keys whose state the pool keeps, including those with messages. Beyond this number it
        /// forgets the longest idle one; 0 keeps no idle key.
        max_processors: usize = 10_000;
        /// How long the pool keeps the state of a key without messages.
        processor_idle: Duration = minutes(5), above_zero();
        /// A lane for each key with work, or as many lanes as workers, chosen by hash.
        mode: LaneMode;
    }
    also Self::capacity;
}

impl KeyedPoolConfig {
    fn capacity(&self, key: &str) -> Result<(), BrokenRule> {
        capacity(&format!("{key}.queue_size"), "worker_count", self.worker_count, self.queue_size)
    }
}

settings! {
    /// Settings of the supervised actor pool.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct ActorPoolConfig {
        /// Whether this pool runs the lanes instead of the keyed pool.
        enabled: bool = false, of_pools!("USE_ACTOR_POOL");
        /// Share of the keys that it runs when it is enabled, in percent; the keyed pool runs the
        /// others. With 0 it stays idle until the share is raised at run time. Left out: 100 when
        /// it is enabled, else 0.
        percent: Option<u8>, range(0, 100), of_pools!("ACTOR_POOL_PERCENT");
        /// Actors, each of which runs one handler at a time.
        pool_size: usize = 256, at_most(MAX_WORKERS), at_least(1), of_pools!("ACTOR_POOL_SIZE");
        /// Messages per actor: the pool holds `pool_size` x `inbox_size` open messages.
        inbox_size: usize = 1_000, at_least(1), at_most(MAX_CAPACITY),
            of_pools!("ACTOR_INBOX_SIZE");
        /// Restarts of one actor within `restart_window`, after which it cools down; 0 means none.
        max_restarts: u32 = 3, of_pools!("ACTOR_MAX_RESTARTS");
        /// The window in which restarts are counted.
        restart_window: Duration = minutes(1), above_zero();
        /// How long an actor that used up its restarts pauses.
        cool_down: Duration = secs(30), above_zero();
        /// How long a submission waits for room before the broker is told to stop reading.
        wait_timeout: Duration = millis(500);
        /// Most open messages of one lane.
        lane_limit: usize = 1_000, at_least(1);
        /// Most bytes of all open messages, those of failing keys excluded.
        max_bytes: usize = 192 * MIB, kind(BYTES), at_least(1);
        /// Most messages that wait behind failing keys, counted apart.
        failing_messages: usize = 64_000, at_least(1);
        /// Most bytes that wait behind failing keys, counted apart.
        failing_bytes: usize = 64 * MIB, kind(BYTES), at_least(1);
        /// Keys whose state the pool keeps, including those with messages. Beyond this number it
        /// forgets the longest idle one; 0 keeps no idle key.
        max_processors: usize = 10_000;
        /// How long the pool keeps the state of a key without messages.
        processor_idle: Duration = minutes(5), above_zero();
    }
    also Self::capacity;
}

impl ActorPoolConfig {
    fn capacity(&self, key: &str) -> Result<(), BrokenRule> {
        capacity(&format!("{key}.inbox_size"), "pool_size", self.pool_size, self.inbox_size)
    }

    /// Share of the keys that this pool runs at the start.
    #[must_use]
    pub const fn share(&self) -> u8 {
        match (self.percent, self.enabled) {
            (Some(percent), _) => percent,
            (None, true) => 100,
            (None, false) => 0,
        }
    }
}

/// Refuses a capacity above the largest.
fn capacity(key: &str, factor: &str, workers: usize, size: usize) -> Result<(), BrokenRule> {
    match workers.checked_mul(size) {
        Some(capacity) if capacity <= MAX_CAPACITY => Ok(()),
        _ => {
            let rule = format!("times {factor} ({workers}) must be at most {MAX_CAPACITY}");
            BrokenRule::because(key, rule, size)
        }
    }
}
