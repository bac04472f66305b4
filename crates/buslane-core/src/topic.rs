//! Topic names and settings, in words that every backend shares.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::Deref, sync::Arc, time::Duration};
use thiserror::Error;

/// Longest topic name in bytes (Kafka's limit).
pub const MAX_TOPIC_BYTES: usize = 249;

/// A topic's name: 1 to 249 characters of `A-Z a-z 0-9 . _ -`, not `.` and not `..`. Cloning is
/// cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a string is not a topic name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid topic {name:?}: {rule}")]
pub struct TopicError {
    /// The refused name.
    pub name: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl Topic {
    /// Checks and takes a name.
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

/// What may be done to a topic that exists, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicStrategy {
    /// Create it when it is missing; leave an existing one alone. The default.
    #[default]
    CreateOnly,
    /// Create it when it is missing; change the settings of an existing one that differ, never
    /// shrink it.
    CreateOrUpdate,
    /// Change nothing; an error names each setting that differs, or the missing topic.
    ValidateOnly,
    /// Do nothing at all.
    Skip,
}

/// How the records of a topic are stored, whatever their producers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicCompression {
    /// As the producer has sent them.
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

/// Where the records of a topic are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicStorage {
    /// In files.
    File,
    /// In the memory of the broker's processes: gone with them.
    Memory,
    /// Nowhere: only who listens gets a record, and nobody acknowledges it.
    Nowhere,
}

/// Settings of a topic. `None` leaves the broker's own default, or the present value, untouched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicSettings {
    /// Number of partitions, at least 1; `None` on NATS where a topic has none. Grows only with
    /// [`TopicSettings::expand`], never shrinks; on NATS a topic without partitions gets some in
    /// place.
    pub partitions: Option<u32>,
    /// Copies of each partition; 1 on the memory broker.
    pub replication: Option<u16>,
    /// How long messages are kept.
    pub retention: Option<Duration>,
    /// How many bytes a partition keeps.
    pub retention_bytes: Option<u64>,
    /// How records are stored. Kafka alone; elsewhere it is refused.
    pub compression: Option<TopicCompression>,
    /// Where records are kept. NATS alone; elsewhere it is refused.
    pub storage: Option<TopicStorage>,
    /// Whether an update may add partitions. Keys change their partition then, so it is off by
    /// default.
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
