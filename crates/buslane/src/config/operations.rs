//! How much may flow, when that is too little, and what happens then.

use super::{duration, optional};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A token bucket: so many messages a second on average, and after a pause so many at once.
///
/// Timers tick in milliseconds, so a bucket that holds less than a thousandth of its rate lets less
/// through than it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Messages a second; 1 to 10,000,000. Default: `1000`.
    pub per_second: u32,
    /// Messages at once after a pause; at least 1. Default: `100`.
    pub burst: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new(1_000, 100)
    }
}

impl RateLimit {
    /// Most messages a second that a limit may name: beyond that it would not be exact to a
    /// percent.
    pub const MOST: u32 = 10_000_000;

    /// A bucket of this rate that holds `burst` messages. Checked where it comes to be used.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// The name of the value that breaks a rule, the rule, and what was found.
    pub(crate) fn broken(self) -> Option<(&'static str, String, u32)> {
        let (most, Self { per_second, burst }) = (Self::MOST, self);
        if per_second == 0 || per_second > most {
            return Some(("per_second", format!("must be from 1 to {most}"), per_second));
        }
        (burst == 0).then(|| ("burst", "must be at least 1".to_owned(), burst))
    }
}

/// How many messages may flow. What is not limited here is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// What this bus publishes. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub publish: Option<RateLimit>,
    /// What this bus handles. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<RateLimit>,
    /// The same for single topics, by their names; both limits hold then. Default: none.
    pub topics: BTreeMap<String, TopicLimitsConfig>,
}

/// How many messages of one topic may flow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicLimitsConfig {
    /// What this bus publishes to it.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub publish: Option<RateLimit>,
    /// What this bus handles of it. A subscription's own limit takes its place.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<RateLimit>,
}

/// When the bus is behind, on either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BacklogConfig {
    /// Time between two looks; 1 ms to 1 h. Default: `30s`.
    #[serde(with = "duration")]
    pub check_interval: Duration,
    /// A partition with more messages that are not settled is behind; 0 for no such limit. Default:
    /// `10000`.
    pub messages: u64,
    /// A partition whose oldest unsettled message is older is behind; 0 for no such limit. Default:
    /// `5m`.
    #[serde(with = "duration")]
    pub age: Duration,
    /// Records on their way to the broker that are critical, half of them being a warning; 0 for no
    /// such limit. Default: `10000`.
    pub publish_depth: u64,
    /// Mean time to an acknowledgement that is critical, half of it being a warning; 0 for no such
    /// limit. Default: `5s`.
    #[serde(with = "duration")]
    pub publish_latency: Duration,
}

impl Default for BacklogConfig {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(30),
            messages: 10_000,
            age: Duration::from_secs(300),
            publish_depth: 10_000,
            publish_latency: Duration::from_secs(5),
        }
    }
}

/// When a bus begins in recovery mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecoveryStart {
    /// When a source that it is given is behind. The default.
    #[default]
    Auto,
    /// Whatever waits.
    Always,
    /// Not at the start.
    Never,
}

/// How a bus that is behind catches up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RecoveryConfig {
    /// Whether a source is looked at before its first message is handled, and what then. Default:
    /// `auto`.
    pub at_start: RecoveryStart,
    /// Whether a backlog that comes up later begins it too. Default: `true`.
    pub on_backlog: bool,
    /// How much is handled while it is on. Default: none, as much as handlers take.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateLimit>,
    /// Keys with work at the same time while it is on; at least 1. Default: `1000`.
    pub keys: usize,
    /// Looks in a row without a backlog after which it ends; at least 1. Default: `3`.
    pub clean_checks: u32,
    /// How long its limits are raised before they go; 0 for at once. Default: `1m`.
    #[serde(with = "duration")]
    pub ramp: Duration,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            at_start: RecoveryStart::default(),
            on_backlog: true,
            rate: None,
            keys: 1_000,
            clean_checks: 3,
            ramp: Duration::from_secs(60),
        }
    }
}
