//! How a bus writes to Kafka.

use super::super::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How batches of records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KafkaCompression {
    /// Not at all. The default.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// Which partition a record with a key goes to. Records without a key go to a random one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KafkaPartitioner {
    /// FNV-1a, as Go producers choose. The default.
    #[default]
    Fnv1a,
    /// Murmur2, as Java producers choose.
    Murmur2,
}

/// Settings of the producer. How long a record may take is the bus's `publish_timeout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaProducerConfig {
    /// How batches are compressed. Default: `none`.
    pub compression: KafkaCompression,
    /// Which partition a key goes to. Default: `fnv1a`.
    pub partitioner: KafkaPartitioner,
    /// How long a record waits for others to share its batch; up to 15 min, less than
    /// `publish_timeout`. Default: `0s`.
    #[serde(with = "duration")]
    pub linger: Duration,
    /// Bytes of one batch; 1 to 2,147,483,647. Default: `1000000`.
    pub batch_bytes: u32,
    /// Bytes of the largest record, as the brokers have it; 1,000 to 1,000,000,000. Default:
    /// `1000000`.
    pub max_message_bytes: u32,
    /// Records that wait for the brokers, then publishers wait; 1 to 2,147,483,647. Default:
    /// `100000`.
    pub queue_messages: u32,
    /// KiB that wait for the brokers, then publishers wait; 1 to 2,147,483,647. Default: `262144`.
    pub queue_kib: u32,
    /// How often a batch is sent again before `publish_timeout` ends it; 1 to 2,147,483,647.
    /// Default: `2147483647`.
    pub retries: u32,
}

impl Default for KafkaProducerConfig {
    fn default() -> Self {
        Self {
            compression: KafkaCompression::default(),
            partitioner: KafkaPartitioner::default(),
            linger: Duration::ZERO,
            batch_bytes: 1_000_000,
            max_message_bytes: 1_000_000,
            queue_messages: 100_000,
            queue_kib: 262_144,
            retries: i32::MAX.unsigned_abs(),
        }
    }
}
