//! Settings of the broker and of its members: plain data with defaults, and the rules they must
//! keep.

use serde::Deserialize;
use std::time::Duration;
use thiserror::Error;

/// Most partitions that a topic may have.
pub const MAX_PARTITIONS: u32 = 4_096;

/// Settings of a [`MemoryBroker`](crate::MemoryBroker).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Partitions of a topic that is created by its first use. Default: 8. At least 1, at most
    /// 4,096.
    pub partitions: u32,
    /// Records that a partition holds: those that a group has not settled, or, while no group reads
    /// the topic, all. When it is full, publishers wait. Default: 65,536. At least 1.
    pub max_messages: usize,
    /// Bytes of keys, headers and payloads that a partition holds; a larger record is refused.
    /// Default: 64 MiB. At least 1.
    pub max_bytes: usize,
    /// Bytes of key, headers and payload of one record; a larger one is refused. Default:
    /// 1,048,588, which is what a broker of Kafka takes. At least 1.
    pub max_message_bytes: usize,
    /// Whether the first use of a topic creates it. Default: yes. Otherwise a publish to a topic
    /// that does not exist is refused, and so is a subscription.
    pub create_missing: bool,
    /// Deliveries of a partition that are handed out and not settled; then its intake waits.
    /// Default: 65,536. Rounded up to a power of two, at least 64. Out-of-order settlements can
    /// lower what is free by at most 63.
    pub max_open: usize,
    /// Seconds that a record of a topic which no group reads is kept; an older one makes room.
    /// Default: none, all are kept. What a group has still to settle is never dropped by age.
    pub retention_seconds: Option<u64>,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            partitions: 8,
            max_messages: 65_536,
            max_bytes: 64 << 20,
            max_message_bytes: 1_048_588,
            create_missing: true,
            max_open: 65_536,
            retention_seconds: None,
        }
    }
}

/// The rule that a setting breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryConfigError {
    /// A setting that counts something is 0.
    #[error("memory.{setting} must be at least 1, found 0")]
    Zero {
        /// Name of the setting.
        setting: &'static str,
    },
    /// A setting is too large.
    #[error("memory.{setting} must be at most {most}, found {found}")]
    TooLarge {
        /// Name of the setting.
        setting: &'static str,
        /// The limit.
        most: u64,
        /// The value.
        found: u64,
    },
}

impl MemoryConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), MemoryConfigError> {
        const MOST_OPEN: usize = 1 << 24;
        let counts = [
            ("partitions", self.partitions as usize),
            ("max_messages", self.max_messages),
            ("max_bytes", self.max_bytes),
            ("max_message_bytes", self.max_message_bytes),
            ("max_open", self.max_open),
            (
                "retention_seconds",
                self.retention_seconds.map_or(1, |seconds| usize::from(seconds > 0)),
            ),
        ];
        if let Some((setting, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(MemoryConfigError::Zero { setting });
        }
        let limits = [
            ("partitions", u64::from(MAX_PARTITIONS), u64::from(self.partitions)),
            ("max_open", MOST_OPEN as u64, self.max_open as u64),
        ];
        match limits.into_iter().find(|(_, most, found)| found > most) {
            Some((setting, most, found)) => {
                Err(MemoryConfigError::TooLarge { setting, most, found })
            }
            None => Ok(()),
        }
    }
}

/// Where a group starts to read a topic that it has not read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetReset {
    /// At the oldest record that is still held. The default.
    #[default]
    Earliest,
    /// Behind the newest.
    Latest,
}

/// Settings of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOptions {
    /// Name of its group. Members of one group share the partitions of a topic; each group gets
    /// every message.
    pub group: String,
    /// Where its group starts in a topic that is new to it. Default: [`OffsetReset::Earliest`].
    pub offset_reset: OffsetReset,
    /// How long a publish waits for room or for the connection. Default: 10 s.
    pub publish_timeout: Duration,
    /// How long open deliveries of a revoked partition are awaited before the next member gets it.
    /// Default: 10 s.
    pub drain_deadline: Duration,
}

impl MemberOptions {
    /// A member of `group`, all else at its default.
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
                "memory.partitions must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_messages: 0, ..Default::default() },
                "memory.max_messages must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_bytes: 0, ..Default::default() },
                "memory.max_bytes must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_message_bytes: 0, ..Default::default() },
                "memory.max_message_bytes must be at least 1, found 0",
            ),
            (
                MemoryConfig { max_open: 0, ..Default::default() },
                "memory.max_open must be at least 1, found 0",
            ),
            (
                MemoryConfig { retention_seconds: Some(0), ..Default::default() },
                "memory.retention_seconds must be at least 1, found 0",
            ),
            (
                MemoryConfig { partitions: 5_000, ..Default::default() },
                "memory.partitions must be at most 4096, found 5000",
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
