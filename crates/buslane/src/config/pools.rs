//! Settings of the two pools, and which of them runs the lanes.

use buslane_rollout::Plan;
use buslane_settings::{
    BrokenRule, above_zero, at_least, at_most, choices,
    duration::{millis, minutes, secs},
    kind, range, settings, variables,
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

const MIB: usize = 1024 * 1024;
const BYTES: &str = "integer, bytes";
/// Every key, in percent.
const ALL: u8 = 100;
/// Most workers or actors of a pool.
const MAX_WORKERS: usize = 65_536;
/// Most messages that a pool may be told to hold.
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

/// Variables of a setting of the actor pool: those of each backend win over that of all.
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
        /// Most bytes of all open messages that are not parked.
        max_bytes: usize = 192 * MIB, kind(BYTES), at_least(1);
        /// Most messages that wait behind failing keys, counted apart.
        parked_messages: usize = 64_000, at_least(1);
        /// Most bytes that wait behind failing keys, counted apart.
        parked_bytes: usize = 64 * MIB, kind(BYTES), at_least(1);
        /// Keys whose state is kept, those with messages among them: beyond this the longest idle
        /// one is forgotten; 0 keeps none that is idle.
        max_processors: usize = 10_000;
        /// Longest time for which the state of a key without messages is kept.
        processor_idle: Duration = minutes(5), above_zero();
        /// A lane of its own for each key with work, or as many lanes as workers, chosen by hash.
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
        /// Share of the keys that it runs when it is enabled; the keyed pool has the others. 0
        /// keeps it away until the share is raised at run time. Left out: 100 when it is enabled,
        /// else 0.
        percent: Option<u8>, range(0, ALL), of_pools!("ACTOR_POOL_PERCENT");
        /// Actors, each of which runs one handler at a time.
        pool_size: usize = 256, at_most(MAX_WORKERS), at_least(1), of_pools!("ACTOR_POOL_SIZE");
        /// Messages per actor: the pool holds `pool_size` x `inbox_size` open messages.
        inbox_size: usize = 1_000, at_least(1), at_most(MAX_CAPACITY),
            of_pools!("ACTOR_INBOX_SIZE");
        /// Restarts that one actor is given within `restart_window`; 0 means none.
        max_restarts: u32 = 3, of_pools!("ACTOR_MAX_RESTARTS");
        /// Window in which restarts are counted.
        restart_window: Duration = minutes(1), above_zero();
        /// How long an actor that used up its restarts stays out before it is tried again.
        cool_down: Duration = secs(30), above_zero();
        /// How long a submission waits for room before the broker is told to stop reading.
        wait_timeout: Duration = millis(500);
        /// Most open messages of one lane.
        lane_limit: usize = 1_000, at_least(1);
        /// Most bytes of all open messages that are not parked.
        max_bytes: usize = 192 * MIB, kind(BYTES), at_least(1);
        /// Most messages that wait behind failing keys, counted apart.
        parked_messages: usize = 64_000, at_least(1);
        /// Most bytes that wait behind failing keys, counted apart.
        parked_bytes: usize = 64 * MIB, kind(BYTES), at_least(1);
        /// Keys whose state is kept, those with messages among them: beyond this the longest idle
        /// one is forgotten; 0 keeps none that is idle.
        max_processors: usize = 10_000;
        /// Longest time for which the state of a key without messages is kept.
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

/// Refuses a pool whose capacity is out of reach.
fn capacity(key: &str, factor: &str, workers: usize, size: usize) -> Result<(), BrokenRule> {
    match workers.checked_mul(size) {
        Some(capacity) if capacity <= MAX_CAPACITY => Ok(()),
        _ => {
            let rule = format!("times {factor} ({workers}) must be at most {MAX_CAPACITY}");
            BrokenRule::because(key, rule, size)
        }
    }
}

/// Who decided which pool runs the lanes, or how many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ChosenBy {
    /// Nobody: the default stands.
    #[default]
    Default,
    /// The configuration file, or text that was parsed.
    File,
    /// This environment variable.
    Environment(&'static str),
    /// The program, after it had read file and environment.
    Code,
}

impl fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Code => f.write_str("code"),
        }
    }
}

/// Which pool runs the lanes at the start, and the settings of both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolChoice {
    /// Whether the actor pool runs lanes.
    pub use_actor: bool,
    /// Who decided it.
    pub chosen_by: ChosenBy,
    /// Share of the keys that it runs, 0 to 100; 0 when `use_actor` is false.
    pub percent: u8,
    /// Who decided that share. Where nobody named one, who decided `use_actor`.
    pub percent_by: ChosenBy,
    /// The plan that begins then, at that share.
    pub plan: Option<Plan>,
    /// Settings of the keyed pool.
    pub keyed: KeyedPoolConfig,
    /// Settings of the actor pool.
    pub actor: ActorPoolConfig,
}
