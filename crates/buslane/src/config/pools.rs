//! Settings of the two pools, and which of them runs the lanes.

use super::{duration, optional};
use crate::rollout::Plan;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

const MIB: usize = 1024 * 1024;

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

/// Settings of the keyed-worker pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyedPoolConfig {
    /// Handlers that run at the same time; 1 to 65,536. Default: `256`.
    pub worker_count: usize,
    /// Messages per worker: the pool holds `worker_count` x `queue_size` open messages; at least 1.
    /// Default: `1000`.
    pub queue_size: usize,
    /// How long a submission waits for room before the broker is told to stop reading. Default:
    /// `500ms`.
    #[serde(with = "duration")]
    pub wait_timeout: Duration,
    /// Most open messages of one lane; at least 1. Default: `1000`.
    pub lane_limit: usize,
    /// Most bytes of all open messages that are not parked; at least 1. Default: `201326592` (192
    /// MiB).
    pub max_bytes: usize,
    /// Most messages that wait behind failing keys, counted apart; at least 1. Default: `64000`.
    pub parked_messages: usize,
    /// Most bytes that wait behind failing keys, counted apart; at least 1. Default: `67108864` (64
    /// MiB).
    pub parked_bytes: usize,
    /// Keys whose state is kept, those with messages among them: beyond this the longest idle one
    /// is forgotten. 0 for none that is idle. Default: `10000`.
    pub max_processors: usize,
    /// Longest time for which the state of a key without messages is kept; more than zero. Default:
    /// `5m`.
    #[serde(with = "duration")]
    pub processor_idle: Duration,
    /// How keys are placed in lanes. Default: `exclusive`.
    pub mode: LaneMode,
}

impl Default for KeyedPoolConfig {
    fn default() -> Self {
        Self {
            worker_count: 256,
            queue_size: 1000,
            wait_timeout: Duration::from_millis(500),
            lane_limit: 1000,
            max_bytes: 192 * MIB,
            parked_messages: 64_000,
            parked_bytes: 64 * MIB,
            max_processors: 10_000,
            processor_idle: Duration::from_secs(300),
            mode: LaneMode::default(),
        }
    }
}

/// Settings of the supervised actor pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ActorPoolConfig {
    /// Whether this pool runs the lanes instead of the keyed pool. Default: `false`.
    pub enabled: bool,
    /// Share of the keys that this pool runs when it is enabled, the keyed pool having the others;
    /// 0 to 100. 0 keeps it away until the share is raised at run time. Default: none, which is 100
    /// when it is enabled, else 0.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Actors, each of which runs one handler at a time; 1 to 65,536. Default: `256`.
    pub pool_size: usize,
    /// Messages per actor: the pool holds `pool_size` x `inbox_size` open messages; at least 1.
    /// Default: `1000`.
    pub inbox_size: usize,
    /// Restarts that one actor is given within `restart_window`; 0 means none. Default: `3`.
    pub max_restarts: u32,
    /// Window in which restarts are counted; more than zero. Default: `1m`.
    #[serde(with = "duration")]
    pub restart_window: Duration,
    /// How long an actor that used up its restarts stays out before it is tried again; more than
    /// zero. Default: `30s`.
    #[serde(with = "duration")]
    pub cool_down: Duration,
    /// How long a submission waits for room before the broker is told to stop reading. Default:
    /// `500ms`.
    #[serde(with = "duration")]
    pub wait_timeout: Duration,
    /// Most open messages of one lane; at least 1. Default: `1000`.
    pub lane_limit: usize,
    /// Most bytes of all open messages that are not parked; at least 1. Default: `201326592` (192
    /// MiB).
    pub max_bytes: usize,
    /// Most messages that wait behind failing keys, counted apart; at least 1. Default: `64000`.
    pub parked_messages: usize,
    /// Most bytes that wait behind failing keys, counted apart; at least 1. Default: `67108864` (64
    /// MiB).
    pub parked_bytes: usize,
    /// Keys whose state is kept, those with messages among them: beyond this the longest idle one
    /// is forgotten. 0 for none that is idle. Default: `10000`.
    pub max_processors: usize,
    /// Longest time for which the state of a key without messages is kept; more than zero. Default:
    /// `5m`.
    #[serde(with = "duration")]
    pub processor_idle: Duration,
}

impl Default for ActorPoolConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            percent: None,
            pool_size: 256,
            inbox_size: 1000,
            max_restarts: 3,
            restart_window: Duration::from_secs(60),
            cool_down: Duration::from_secs(30),
            wait_timeout: Duration::from_millis(500),
            lane_limit: 1000,
            max_bytes: 192 * MIB,
            parked_messages: 64_000,
            parked_bytes: 64 * MIB,
            max_processors: 10_000,
            processor_idle: Duration::from_secs(300),
        }
    }
}

impl ActorPoolConfig {
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
