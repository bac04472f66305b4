//! From when on something counts as a fault.

use super::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long what may last until health names it, and how often that is looked at.
///
/// A limit of 0 names it as soon as it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HealthConfig {
    /// Time between two looks, and between two questions to the broker whether it is there; 10 ms
    /// to 10 s. Default: `1s`.
    #[serde(with = "duration")]
    pub check_interval: Duration,
    /// One attempt of a handler that takes longer is stuck. Default: `1m`.
    #[serde(with = "duration")]
    pub handler_limit: Duration,
    /// A partition that holds messages and gives none for longer is dead. Default: `5s`.
    #[serde(with = "duration")]
    pub partition_limit: Duration,
    /// A broker that is away, or does not answer, for longer is gone, or silent. Default: `5s`.
    #[serde(with = "duration")]
    pub broker_limit: Duration,
    /// Settlements that the broker has refused for longer are a fault. Default: `5s`.
    #[serde(with = "duration")]
    pub settlement_limit: Duration,
    /// A group that has not come to rest for longer is not stable. Default: `30s`.
    #[serde(with = "duration")]
    pub group_limit: Duration,
    /// A source that has found no room in the pool for longer: the pool is full. Default: `5s`.
    #[serde(with = "duration")]
    pub pool_limit: Duration,
    /// A topic that is paused, or has no handler, for longer is a warning. Default: `1h`.
    #[serde(with = "duration")]
    pub pause_limit: Duration,
    /// So many restarts of actors within a minute are a storm; at most 10,000, 0 for no such limit.
    /// Default: `10`.
    pub restarts: u32,
    /// A process whose resident memory is larger has hit its ceiling, in bytes; 0 for none. Read on
    /// Linux alone. Default: `0`.
    pub memory: u64,
    /// Messages that the bus sends to itself.
    pub probe: ProbeConfig,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(1),
            handler_limit: Duration::from_secs(60),
            partition_limit: Duration::from_secs(5),
            broker_limit: Duration::from_secs(5),
            settlement_limit: Duration::from_secs(5),
            group_limit: Duration::from_secs(30),
            pool_limit: Duration::from_secs(5),
            pause_limit: Duration::from_secs(3_600),
            restarts: 10,
            memory: 0,
            probe: ProbeConfig::default(),
        }
    }
}

/// Messages that the bus publishes to a topic which it reads itself, to see that both ways are
/// open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProbeConfig {
    /// Whether there are any. Default: `false`.
    pub enabled: bool,
    /// The topic; all groups may share it. Default: `buslane.health`.
    pub topic: String,
    /// Time between two of them; 10 ms to 1 h. Default: `30s`.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// When none was acknowledged, or none came back, for longer, that is a fault; more than
    /// `interval`. Default: `90s`.
    #[serde(with = "duration")]
    pub limit: Duration,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            topic: "buslane.health".to_owned(),
            interval: Duration::from_secs(30),
            limit: Duration::from_secs(90),
        }
    }
}
