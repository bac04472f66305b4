//! From when on something counts as a fault.

use buslane_settings::{
    BrokenRule, at_most,
    duration::{hours, millis, minutes, secs, show},
    kind, range, settings, topic_name, variables,
};
use std::time::Duration;

/// The longest limit: a year.
const YEAR: Duration = hours(8_760);
/// Restarts that health remembers.
const MAX_RESTARTS: u32 = 10_000;

settings! {
    /// How long what may last until health names it, and how often that is looked at.
    ///
    /// A limit of 0 names it as soon as it is seen.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct HealthConfig {
        /// Time between two looks, and between two questions to the broker whether it is there.
        check_interval: Duration = secs(1), range(millis(10), secs(10));
        /// One attempt of a handler that takes longer is stuck.
        handler_limit: Duration = minutes(1), at_most(YEAR);
        /// A partition that holds messages and gives none for longer is dead.
        partition_limit: Duration = secs(5), at_most(YEAR);
        /// A broker that is away, or does not answer, for longer is gone, or silent.
        broker_limit: Duration = secs(5), at_most(YEAR);
        /// Settlements that the broker has refused for longer are a fault.
        settlement_limit: Duration = secs(5), at_most(YEAR);
        /// A group that has not come to rest for longer is not stable.
        group_limit: Duration = secs(30), at_most(YEAR);
        /// A source that has found no room in the pool for longer: the pool is full.
        pool_limit: Duration = secs(5), at_most(YEAR);
        /// A topic that is paused, or has no handler, for longer is a warning.
        pause_limit: Duration = hours(1), at_most(YEAR);
        /// So many restarts of actors within a minute are a storm; 0 for no such limit. An actor
        /// that cools down is one in any case.
        restarts: u32 = 10, at_most(MAX_RESTARTS);
        /// A process whose resident memory is larger has hit its ceiling; 0 for none. Read on Linux
        /// alone.
        memory: u64 = 0, kind("integer, bytes"), variables(&["BUSLANE_HEALTH_MEMORY"]);
        /// Messages that the bus sends to itself.
        probe: ProbeConfig;
    }
}

settings! {
    /// Messages that the bus publishes to a topic which it reads itself, to see that both ways are
    /// open.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct ProbeConfig {
        /// Whether the bus publishes messages to a topic which it reads itself, to see that both
        /// ways are open.
        enabled: bool = false, variables(&["BUSLANE_HEALTH_PROBE"]);
        /// That topic; all groups may share it.
        topic: String = "buslane.health".to_owned(), kind("topic name"), topic_name();
        /// Time between two of them.
        interval: Duration = secs(30), range(millis(10), hours(1));
        /// When none was acknowledged, or none came back, for longer, that is a fault; more than
        /// `interval`.
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
