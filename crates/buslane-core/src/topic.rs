//! Topic names and topic settings that all backends share.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::Deref, sync::Arc, time::Duration};
use thiserror::Error;

/// The maximum length of a topic name in bytes (Kafka's limit).
pub const MAX_TOPIC_BYTES: usize = 249;

/// The name of a topic: 1 to 249 characters of `A-Z a-z 0-9 . _ -`, but not `.` or `..`. Cloning is
/// cheap.
///
/// ```
/// use buslane_core::Topic;
///
/// assert_eq!(Topic::new("orders.placed")?.as_str(), "orders.placed");
/// assert!(Topic::new("orders placed").is_err());
/// # Ok::<(), buslane_core::TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a string is not a topic name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid topic {name:?}: {rule}")]
pub struct TopicError {
    /// The refused name.
    pub name: String,
    /// The rule that the name breaks.
    pub rule: &'static str,
}

impl Topic {
    /// Checks a name.
    ///
    /// # Errors
    /// The rule that `name` breaks.
    pub fn new(name: &str) -> Result<Self, TopicError> {
        let refused = |rule| Err(TopicError { name: name.to_owned(), rule });
        if name.is_empty() {
            return refused("a topic needs a name");
        }
        if name.len() > MAX_TOPIC_BYTES {
            return refused("at most 249 characters are allowed");
        }
        if name == "." || name == ".." {
            return refused("\".\" and \"..\" are reserved");
        }
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        {
            return refused("allowed are A-Z a-z 0-9 . _ -");
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Topic {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What configuring a topic may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicStrategy {
    /// Creates a missing topic, and leaves an existing one alone. The default.
    #[default]
    CreateOnly,
    /// Creates a missing topic, and changes the differing settings of an existing one, but never
    /// shrinks it.
    CreateOrUpdate,
    /// Changes nothing. An error names each setting that differs, or the missing topic.
    ValidateOnly,
    /// Does nothing.
    Skip,
}

/// How the broker compresses the records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicCompression {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Where the broker keeps the records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicStorage {
    /// In files.
    File,
    /// In the memory of the broker's processes; they are lost when the processes end.
    Memory,
    /// Nowhere: only present listeners receive a record, and no server acknowledges it.
    Nowhere,
}

/// Settings of a topic. `None` keeps the broker's default or the present value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicSettings {
    /// The number of partitions, at least 1; `None` on NATS if the topic has none. It grows only
    /// with [`TopicSettings::expand`], and never shrinks. On NATS a topic without partitions is
    /// given partitions in place.
    pub partitions: Option<u32>,
    /// The number of copies of each partition; 1 on the memory broker.
    pub replication: Option<u16>,
    /// How long the broker keeps messages.
    pub retention: Option<Duration>,
    /// How many bytes of a partition the broker keeps.
    pub retention_bytes: Option<u64>,
    /// How records are compressed. Kafka only; other backends refuse it.
    pub compression: Option<TopicCompression>,
    /// Where records are kept. NATS only; other backends refuse it.
    pub storage: Option<TopicStorage>,
    /// Whether an update may add partitions. Adding some moves keys to other partitions, so the
    /// default is `false`.
    pub expand: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_topic_names() {
        for good in ["orders", "a.b_c-9", "...", &"x".repeat(249)] {
            assert_eq!(Topic::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            let error = Topic::new(bad).unwrap_err();
            assert_eq!(error.name, bad);
            assert!(error.to_string().starts_with("invalid topic"), "{error}");
        }
    }
}
