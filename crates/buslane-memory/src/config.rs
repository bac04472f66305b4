//! Settings of the broker and of its members: plain data with defaults, and the rules they must
//! keep.

use buslane_settings::{BrokenRule, Value, at_least, at_most, kind, settings};
use std::time::Duration;

/// The largest number of partitions of a topic.
pub const MAX_PARTITIONS: u32 = 4_096;
/// The largest number of deliveries of a partition that may be handed out and not settled.
const MOST_OPEN: usize = 1 << 24;
const BYTES: &str = "integer, bytes";

settings! {
    /// Settings of a [`MemoryBroker`](crate::MemoryBroker).
    #[derive(Eq)]
    pub struct MemoryConfig {
        /// Partitions of a topic that is created by its first use.
        partitions: u32 = 8, at_most(MAX_PARTITIONS), at_least(1);
        /// Most messages that a partition holds: those that a group has not settled, or, while no
        /// group reads the topic, all. When it is full, publishers wait.
        max_messages: usize = 65_536, at_least(1);
        /// Most bytes of keys, headers and payloads that a partition holds; a larger message is
        /// refused.
        max_bytes: usize = 64 << 20, kind(BYTES), at_least(1);
        /// Most bytes of one message, key and headers included; a larger one is refused. The
        /// default is that of a Kafka broker.
        max_message_bytes: usize = 1_048_588, kind(BYTES), at_least(1);
        /// Whether the first use of a topic creates it. Otherwise publishing to one that does not
        /// exist is refused, and so is subscribing; those under `topics` exist.
        create_missing: bool = true;
    }
    given {
        /// Deliveries of a partition that are handed out and not settled; then its intake waits.
        /// Rounded up to a power of two, at least 64. Out-of-order settlements can lower what is
        /// free by at most 63. Default: 65,536.
        pub max_open: usize = 65_536;
        /// Seconds that a record of a topic which no group reads is kept; an older one makes room.
        /// Default: none, all are kept. What a group has still to settle is never dropped by age.
        pub retention_seconds: Option<u64>;
    }
    also Self::given_is_possible;
}

/// The rule that a setting breaks.
pub type MemoryConfigError = BrokenRule;

impl MemoryConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn validate(&self) -> Result<(), MemoryConfigError> {
        Value::validate(self, "memory")
    }

    fn given_is_possible(&self, key: &str) -> Result<(), BrokenRule> {
        for (name, is_zero) in [
            ("max_open", self.max_open == 0),
            ("retention_seconds", self.retention_seconds == Some(0)),
        ] {
            if is_zero {
                return BrokenRule::because(format!("{key}.{name}"), "must be at least 1", 0);
            }
        }
        if self.max_open > MOST_OPEN {
            let rule = format!("must be at most {MOST_OPEN}");
            return BrokenRule::because(format!("{key}.max_open"), rule, self.max_open);
        }
        Ok(())
    }
}

/// Where a group starts to read a topic that is new to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the oldest record that is still held. The default.
    #[default]
    Earliest,
    /// After the newest record.
    Latest,
}

/// Settings of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOptions {
    /// The name of the member's group. Members of one group share the partitions of a topic; each
    /// group gets every message.
    pub group: String,
    /// Where the group starts in a topic that is new to the group. Default:
    /// [`OffsetReset::Earliest`].
    pub offset_reset: OffsetReset,
    /// How long a publish waits for capacity or for the connection. Default: 10 s.
    pub publish_timeout: Duration,
    /// How long a revoked partition waits for its open deliveries before the next member gets it.
    /// Default: 10 s.
    pub drain_deadline: Duration,
}

impl MemberOptions {
    /// A member of `group` with default settings.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            offset_reset: OffsetReset::Earliest,
            publish_timeout: Duration::from_secs(10),
            drain_deadline: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m1_configuration_rules() {
        assert_eq!(MemoryConfig::default().validate(), Ok(()));
        let broken: [(MemoryConfig, &str); 7] = [
            (
                MemoryConfig { partitions: 0, ..Default::default() },
                "memory.partitions: must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_messages: 0, ..Default::default() },
                "memory.max_messages: must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_bytes: 0, ..Default::default() },
                "memory.max_bytes: must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_message_bytes: 0, ..Default::default() },
                "memory.max_message_bytes: must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_open: 0, ..Default::default() },
                "memory.max_open: must be at least 1, found 0",
            ),
            (
                MemoryConfig { retention_seconds: Some(0), ..Default::default() },
                "memory.retention_seconds: must be at least 1, found 0",
            ),
            (
                MemoryConfig { partitions: 5_000, ..Default::default() },
                "memory.partitions: must be at most 4096, found 5000",
            ),
        ];
        for (config, message) in broken {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn m1_unknown_settings_are_refused() {
        let read: MemoryConfig = serde_json::from_str(r#"{"partitions": 3}"#).unwrap();
        assert_eq!(read, MemoryConfig { partitions: 3, ..Default::default() });
        let error = serde_json::from_str::<MemoryConfig>(r#"{"partition": 3}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `partition`"), "{error}");
    }
}
