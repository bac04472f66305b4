//! Limits of the flow, when a bus counts as behind, how it recovers, and what counts as a fault.

use super::{ConfigError, pools::MAX_CAPACITY};
use buslane_settings::{
    BrokenRule, Value as _, at_least, at_most, choices,
    duration::{hours, millis, minutes, secs, show},
    judge, kind, range, settings, topic_name, variables,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// The longest limit of health.
const YEAR: Duration = hours(8_760);
/// The most restarts that health can count.
const MAX_RESTARTS: u32 = 10_000;

settings! {
    /// A token bucket: a number of messages a second on average, and a burst after a pause.
    ///
    /// Timers tick in milliseconds, so a burst below a thousandth of the rate lowers the rate.
    #[derive(Copy, Eq)]
    pub struct RateLimit {
        /// Messages a second.
        per_second: u32 = 1_000, range(1, RateLimit::MOST);
        /// Messages at once after a pause.
        burst: u32 = 100, at_least(1);
    }
}

impl RateLimit {
    /// The highest rate: above it, the bucket is not exact to 1 %.
    pub const MOST: u32 = 10_000_000;

    /// A bucket of this rate that holds `burst` messages. Its rules are checked on use.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// Refuses a rate limit that breaks its rules.
pub(crate) fn check_rate(key: &str, limit: Option<RateLimit>) -> Result<(), ConfigError> {
    Ok(limit.validate(key)?)
}

settings! {
    /// How many messages may flow. What has no limit here is unlimited.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct LimitsConfig {
        /// Limit of what this bus publishes.
        publish: Option<RateLimit>;
        /// Limit of what this bus handles.
        subscribe: Option<RateLimit>;
        /// Limits of single topics, in addition to those of the bus. A subscription's own rate
        /// replaces `subscribe` of its topic.
        topics: BTreeMap<String, TopicLimitsConfig>,
            kind("table of topics, each with `publish`, `subscribe` or both");
    }
    also Self::topics_are_possible;
}

impl LimitsConfig {
    fn topics_are_possible(&self, key: &str) -> Result<(), BrokenRule> {
        for (topic, limits) in &self.topics {
            judge(topic, format!("{key}.topics"), vec![topic_name()])?;
            limits.validate(&format!("{key}.topics.{topic}"))?;
        }
        Ok(())
    }
}

settings! {
    /// How many messages of one topic may flow.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct TopicLimitsConfig {
        /// Limit of what this bus publishes to it.
        publish: Option<RateLimit>;
        /// Limit of what this bus handles of it. A subscription's own rate replaces it.
        subscribe: Option<RateLimit>;
    }
}

settings! {
    /// When the bus counts as behind, in reading and in publishing.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct BacklogConfig {
        /// Time between two checks.
        check_interval: Duration = secs(30), range(millis(1), hours(1));
        /// A partition with more unsettled messages is behind; 0 disables the limit.
        messages: u64 = 10_000;
        /// A partition whose oldest unsettled message is older is behind; 0 disables the limit.
        age: Duration = minutes(5);
        /// Unacknowledged records that are critical; half of them are a warning. 0 disables the
        /// limit.
        publish_depth: u64 = 10_000;
        /// Mean time to an acknowledgement that is critical; half of it is a warning. 0 disables
        /// the limit.
        publish_latency: Duration = secs(5);
    }
}

/// When a bus starts in recovery mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecoveryStart {
    /// When one of its sources is behind. The default.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

choices!(RecoveryStart);

settings! {
    /// How a bus that is behind catches up.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct RecoveryConfig {
        /// When a bus starts in recovery mode. With `auto` it checks each source before it handles
        /// the first message, and a backlog begins recovery.
        at_start: RecoveryStart, variables(&["BUSLANE_RECOVERY_AT_START"]);
        /// Whether a later backlog begins recovery, too.
        on_backlog: bool = true, variables(&["BUSLANE_RECOVERY_ON_BACKLOG"]);
        /// Limit of what the bus handles during recovery. Left out: as much as the handlers take.
        rate: Option<RateLimit>, variables(&["BUSLANE_RECOVERY_RATE"]);
        /// Keys with work at the same time during recovery.
        keys: usize = 1_000, at_least(1), at_most(MAX_CAPACITY),
            variables(&["BUSLANE_RECOVERY_KEYS"]);
        /// Checks in a row without a backlog that end recovery.
        clean_checks: u32 = 3, at_least(1);
        /// How long the limits of recovery rise before they are lifted; 0 lifts them at once.
        ramp: Duration = minutes(1), at_most(hours(24));
    }
}

settings! {
    /// How long a condition may last before it is a fault, and how often it is checked.
    ///
    /// With a limit of 0 a condition is a fault as soon as it is seen.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct HealthConfig {
        /// Time between two checks, and between two pings of the broker.
        check_interval: Duration = secs(1), range(millis(10), secs(10));
        /// A handler whose attempt takes longer is stuck.
        handler_limit: Duration = minutes(1), at_most(YEAR);
        /// A partition with messages that delivers none for longer is dead.
        partition_limit: Duration = secs(5), at_most(YEAR);
        /// A broker that is disconnected or does not answer for longer is a fault.
        broker_limit: Duration = secs(5), at_most(YEAR);
        /// Settlements that the broker refuses for longer are a fault.
        settlement_limit: Duration = secs(5), at_most(YEAR);
        /// A consumer group that rebalances for longer is unstable.
        group_limit: Duration = secs(30), at_most(YEAR);
        /// A pool without room for a source for longer is full.
        pool_limit: Duration = secs(5), at_most(YEAR);
        /// A topic that is paused or has no handler for longer is a warning.
        pause_limit: Duration = hours(1), at_most(YEAR);
        /// This many restarts of actors within a minute are a fault; 0 disables the limit. An actor
        /// that cools down is a fault in any case.
        restarts: u32 = 10, at_most(MAX_RESTARTS);
        /// Resident memory of the process above this is a fault; 0 disables the limit. Linux only.
        memory: u64 = 0, kind("integer, bytes"), variables(&["BUSLANE_HEALTH_MEMORY"]);
        /// Probes: messages that the bus sends to itself.
        probe: ProbeConfig;
    }
}

settings! {
    /// Probes: messages that the bus publishes to a topic that it reads itself, to test both
    /// directions.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct ProbeConfig {
        /// Whether the bus publishes probes to a topic that it reads itself, to test both
        /// directions.
        enabled: bool = false, variables(&["BUSLANE_HEALTH_PROBE"]);
        /// The topic of the probes; all groups may share it.
        topic: String = "buslane.health".to_owned(), kind("topic name"), topic_name();
        /// Time between two probes.
        interval: Duration = secs(30), range(millis(10), hours(1));
        /// No probe acknowledged, or none received, for longer is a fault; more than `interval`.
        limit: Duration = secs(90), at_most(YEAR);
    }
    also Self::limit_is_longer;
}

impl ProbeConfig {
    fn limit_is_longer(&self, key: &str) -> Result<(), BrokenRule> {
        if self.limit > self.interval {
            return Ok(());
        }
        let rule = format!("must be more than {key}.interval ({})", show(self.interval));
        BrokenRule::because(format!("{key}.limit"), rule, show(self.limit))
    }
}
