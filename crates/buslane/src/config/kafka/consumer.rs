//! How a bus reads from Kafka.

use super::super::{duration, optional};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a group begins that has committed nothing yet, or whose offset is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KafkaOffsetReset {
    /// At the oldest message. The default.
    #[default]
    Earliest,
    /// Behind the newest message.
    Latest,
}

/// How the members of a group share its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KafkaAssignment {
    /// Partitions that stay where they are go on during a rebalance. The default.
    #[default]
    CooperativeSticky,
    /// Ranges of each topic; every rebalance stops all members.
    Range,
    /// One partition after the other; every rebalance stops all members.
    RoundRobin,
    /// The protocol in which the brokers decide (KIP-848, Kafka 4.0 or later). Session and
    /// heartbeat times are theirs then. A member whose last subscription has ended stays in its
    /// group without a partition until it is closed.
    Broker,
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KafkaIsolation {
    /// Committed ones. The default.
    #[default]
    ReadCommitted,
    /// Aborted and unfinished ones too.
    ReadUncommitted,
}

/// Settings of the group member. Times are whole milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConsumerConfig {
    /// Where a new group begins. Default: `earliest`.
    pub offset_reset: KafkaOffsetReset,
    /// How partitions are shared. Default: `cooperative_sticky`.
    pub assignment: KafkaAssignment,
    /// A name that stays over restarts: the process that comes back with it takes the partitions of
    /// the one that was killed at once, but with the assignment `broker`. Each process of a group
    /// needs its own: of two with the same, the older one ends. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Silence after which the group takes the member for dead: so long nothing of a killed process
    /// is handled. Up to 1 h and to `max_poll_interval`. Default: `10s`.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    /// Time between two signs of life; at most a third of `session_timeout`. Default: `3s`.
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    /// How long the polling thread may be busy before the group takes the member for stuck; up to
    /// 24 h. Default: `5m`.
    #[serde(with = "duration")]
    pub max_poll_interval: Duration,
    /// Which records are read. Default: `read_committed`.
    pub isolation: KafkaIsolation,
    /// Bytes that a broker collects before it answers, unless `fetch_max_wait` passes; 1 to
    /// 100,000,000. Default: `1`.
    pub fetch_min_bytes: u32,
    /// How long a broker waits until it has that much; up to 5 min. A busy partition beside idle
    /// ones may wait as long. Default: `50ms`.
    #[serde(with = "duration")]
    pub fetch_max_wait: Duration,
    /// Bytes of one answer; 1 to 2,147,483,135. Default: `52428800` (50 MiB).
    pub fetch_max_bytes: u32,
    /// Bytes of one partition in an answer; 1 to 1,000,000,000. Default: `1048576` (1 MiB).
    pub fetch_partition_bytes: u32,
    /// Messages that are fetched ahead of each partition; 1 to 10,000,000. Default: `2000`.
    pub prefetch_messages: u32,
    /// KiB that are fetched ahead of each partition; 1 to 2,097,151. Default: `16384`.
    pub prefetch_kib: u32,
    /// How long started messages of a revoked partition are awaited; less than `max_poll_interval`.
    /// Default: `10s`.
    #[serde(with = "duration")]
    pub drain_deadline: Duration,
    /// Time between two commits; 1 ms to 24 h. Default: `1s`.
    #[serde(with = "duration")]
    pub commit_interval: Duration,
    /// Settled messages after which a commit is made sooner; at least 1. Default: `10000`.
    pub commit_every: u64,
    /// Characters of metadata that a commit carries, the brokers' `offset.metadata.max.bytes`; 0
    /// for none. Default: `4096`.
    pub metadata_limit: usize,
}

impl Default for KafkaConsumerConfig {
    fn default() -> Self {
        Self {
            offset_reset: KafkaOffsetReset::default(),
            assignment: KafkaAssignment::default(),
            instance_id: None,
            session_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            isolation: KafkaIsolation::default(),
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(50),
            fetch_max_bytes: 50 << 20,
            fetch_partition_bytes: 1 << 20,
            prefetch_messages: 2_000,
            prefetch_kib: 16_384,
            drain_deadline: Duration::from_secs(10),
            commit_interval: Duration::from_secs(1),
            commit_every: 10_000,
            metadata_limit: 4_096,
        }
    }
}
