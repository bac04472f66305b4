//! How much may flow, when that is too little, and what happens then.

use super::{ConfigError, pools::MAX_CAPACITY};
use buslane_settings::{
    BrokenRule, Value as _, at_least, at_most, choices,
    duration::{hours, millis, minutes, secs},
    judge, kind, range, settings, topic_name, variables,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

settings! {
    /// A token bucket: so many messages a second on average, and after a pause so many at once.
    ///
    /// Timers tick in milliseconds, so a bucket that holds less than a thousandth of its rate lets
    /// less through than it says.
    #[derive(Copy, Eq)]
    pub struct RateLimit {
        /// Messages a second.
        per_second: u32 = 1_000, range(1, RateLimit::MOST);
        /// Messages at once after a pause.
        burst: u32 = 100, at_least(1);
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
}

/// Refuses a rate limit that lets nothing through, or that nothing could keep.
pub(crate) fn check_rate(key: &str, limit: Option<RateLimit>) -> Result<(), ConfigError> {
    Ok(limit.validate(key)?)
}

settings! {
    /// How many messages may flow. What is not limited here is not limited.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct LimitsConfig {
        /// What this bus publishes.
        publish: Option<RateLimit>;
        /// What this bus handles.
        subscribe: Option<RateLimit>;
        /// Limits of single topics, which hold beside those of the bus. A subscription's own rate
        /// takes the place of its `subscribe`.
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
        /// What this bus publishes to it.
        publish: Option<RateLimit>;
        /// What this bus handles of it. A subscription's own limit takes its place.
        subscribe: Option<RateLimit>;
    }
}

settings! {
    /// When the bus is behind, on either side.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct BacklogConfig {
        /// Time between two looks.
        check_interval: Duration = secs(30), range(millis(1), hours(1));
        /// A partition with more messages that are not settled is behind; 0 for no such limit.
        messages: u64 = 10_000;
        /// A partition whose oldest unsettled message is older is behind; 0 for no such limit.
        age: Duration = minutes(5);
        /// Records on their way to the broker that are critical, half of them a warning; 0 for no
        /// such limit.
        publish_depth: u64 = 10_000;
        /// Mean time to an acknowledgement that is critical, half of it a warning; 0 for no such
        /// limit.
        publish_latency: Duration = secs(5);
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

choices!(RecoveryStart);

settings! {
    /// How a bus that is behind catches up.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct RecoveryConfig {
        /// When a bus begins in recovery mode. With `auto` each source is looked at before its
        /// first message is handled, and a backlog begins it.
        at_start: RecoveryStart, variables(&["BUSLANE_RECOVERY_AT_START"]);
        /// Whether a backlog that comes up later begins it too.
        on_backlog: bool = true, variables(&["BUSLANE_RECOVERY_ON_BACKLOG"]);
        /// How much is handled while it is on. Without it as many as handlers take.
        rate: Option<RateLimit>, variables(&["BUSLANE_RECOVERY_RATE"]);
        /// Keys with work at the same time while it is on.
        keys: usize = 1_000, at_least(1), at_most(MAX_CAPACITY),
            variables(&["BUSLANE_RECOVERY_KEYS"]);
        /// Looks in a row without a backlog after which it ends.
        clean_checks: u32 = 3, at_least(1);
        /// How long its limits are raised before they go; 0 for at once.
        ramp: Duration = minutes(1), at_most(hours(24));
    }
}
