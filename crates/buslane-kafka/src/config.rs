//! Settings of a Kafka client, and what becomes of them: the properties of librdkafka.
//!
//! Every field has a default and an effect. What has no field here can be passed through by its
//! librdkafka name; a name that the bus controls is refused with the name of the field to use
//! instead.

mod properties;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::KafkaConfigError;

use crate::Tokens;
use buslane_core::{Secret, TopicSettings};
use std::{collections::BTreeMap, time::Duration};

/// Settings of one [`KafkaBroker`](crate::KafkaBroker): one group member and one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port` of at least one broker, separated by commas. Default: `localhost:9092`.
    pub brokers: String,
    /// The consumer group. Default: `buslane`.
    pub group: String,
    /// Name of this client in the brokers' logs and quotas. Default: `buslane`.
    pub client_id: String,
    /// The consumer.
    pub consumer: ConsumerConfig,
    /// The producer.
    pub producer: ProducerConfig,
    /// How it proves who it is. Default: plain text without a login.
    pub security: Security,
    /// Creates a topic with these settings when it is subscribed or published to and missing.
    /// Default: `None`, a missing topic is an error.
    pub create_missing: Option<TopicSettings>,
    /// How long establishing a connection may take. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long a request may take that has no time of its own. Default: 30 s.
    pub request_timeout: Duration,
    /// Properties of librdkafka that have no field here, passed through to consumer and producer.
    /// What `debug` asks for is told at level debug. Default: none.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            group: "buslane".to_owned(),
            client_id: "buslane".to_owned(),
            consumer: ConsumerConfig::default(),
            producer: ProducerConfig::default(),
            security: Security::default(),
            create_missing: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            properties: BTreeMap::new(),
        }
    }
}

/// Where a group begins that has committed nothing yet, or whose offset is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the oldest message. The default.
    #[default]
    Earliest,
    /// Behind the newest message.
    Latest,
}

/// How the members of a group share its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Assignment {
    /// Partitions that stay where they are go on during a rebalance. The default.
    #[default]
    CooperativeSticky,
    /// Ranges of each topic; every rebalance stops all members.
    Range,
    /// One partition after the other; every rebalance stops all members.
    RoundRobin,
    /// The protocol in which the brokers decide (KIP-848, Kafka 4.0 or later). Session and
    /// heartbeat times are the broker's then. A member whose last subscription has ended stays in
    /// its group without a partition until it is closed; with the others it leaves.
    Broker,
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Committed ones. The default.
    #[default]
    ReadCommitted,
    /// Aborted and unfinished ones too.
    ReadUncommitted,
}

/// Settings of the group member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Where a new group begins. Default: earliest.
    pub offset_reset: OffsetReset,
    /// How partitions are shared. Default: cooperative-sticky.
    pub assignment: Assignment,
    /// A name that stays over restarts: the process that comes back with it takes the partitions of
    /// the one that was killed at once, and a restart within the session timeout moves none. No two
    /// processes of a group may have the same: the older one ends. Default: none.
    pub instance_id: Option<String>,
    /// Silence after which the group takes the member for dead: so long nothing of a killed member
    /// is handled. Default: 10 s. Longer where a machine may starve the process for that time.
    pub session_timeout: Duration,
    /// Time between two signs of life. Default: 3 s; less than a third of the session timeout.
    pub heartbeat_interval: Duration,
    /// How long the polling thread may be busy before the group takes the member for stuck.
    /// Default: 5 min.
    pub max_poll_interval: Duration,
    /// Which records are read. Default: committed ones.
    pub isolation: Isolation,
    /// Bytes that a broker collects before it answers, unless `fetch_max_wait` passes. Default: 1.
    pub fetch_min_bytes: u32,
    /// How long a broker waits until it has that much. Default: 50 ms, because the client asks one
    /// question at a time: while one about idle partitions waits, a busy one whose messages were
    /// read meanwhile waits too.
    pub fetch_max_wait: Duration,
    /// Bytes of one answer. Default: 50 MiB.
    pub fetch_max_bytes: u32,
    /// Bytes of one partition in an answer. Default: 1 MiB.
    pub fetch_partition_bytes: u32,
    /// Messages that the client fetches ahead of each partition. Default: 2,000.
    pub prefetch_messages: u32,
    /// KiB that the client fetches ahead of each partition. Default: 16,384.
    pub prefetch_kib: u32,
    /// How long started messages of a revoked partition are awaited. Default: 10 s; less than the
    /// max poll interval.
    pub drain_deadline: Duration,
    /// Time between two commits. Default: 1 s.
    pub commit_interval: Duration,
    /// Settled messages after which a commit is made sooner. Default: 10,000.
    pub commit_every: u64,
    /// Characters of metadata that a commit carries; the brokers' `offset.metadata.max.bytes`.
    /// Default: 4,096; 0 for none.
    pub metadata_limit: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            offset_reset: OffsetReset::default(),
            assignment: Assignment::default(),
            instance_id: None,
            session_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            isolation: Isolation::default(),
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

/// How batches of records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// FNV-1a, as Go producers choose. The default.
    #[default]
    Fnv1a,
    /// Murmur2, as Java producers choose.
    Murmur2,
}

/// Settings of the producer. It is idempotent and waits for all in-sync replicas; neither can be
/// changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// How batches are compressed. Default: none.
    pub compression: Compression,
    /// Which partition a key goes to. Default: FNV-1a.
    pub partitioner: Partitioner,
    /// How long a record waits for others to share its batch. Default: 0.
    pub linger: Duration,
    /// Bytes of one batch. Default: 1,000,000.
    pub batch_bytes: u32,
    /// Bytes of the largest record. Default: 1,000,000, as the brokers have it.
    pub max_message_bytes: u32,
    /// Records that wait for the brokers. Default: 100,000; then publishers wait.
    pub queue_messages: u32,
    /// KiB that wait for the brokers. Default: 262,144.
    pub queue_kib: u32,
    /// How often a batch is sent again. Default: 2,147,483,647; the publish timeout ends it.
    pub retries: u32,
    /// How long a record may take from the call to the acknowledgement. Default: 10 s.
    pub publish_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            partitioner: Partitioner::default(),
            linger: Duration::ZERO,
            batch_bytes: 1_000_000,
            max_message_bytes: 1_000_000,
            queue_messages: 100_000,
            queue_kib: 262_144,
            retries: i32::MAX.unsigned_abs(),
            publish_timeout: Duration::from_secs(10),
        }
    }
}

/// Encryption of the connection, and proof of who the client is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Encryption. Default: none.
    pub tls: Option<Tls>,
    /// Login. Default: none.
    pub login: Option<Login>,
}

/// Encryption of the connection. Files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates of the authorities that are trusted. Default: those of the system.
    pub ca_file: Option<String>,
    /// The client's certificate, for brokers that ask for one.
    pub certificate_file: Option<String>,
    /// The client's key.
    pub key_file: Option<String>,
    /// What the key is encrypted with.
    pub key_password: Option<Secret>,
}

/// A login by SASL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// User and password, as they are: only over TLS is that safe.
    Plain {
        /// User.
        user: String,
        /// Password.
        password: Secret,
    },
    /// SCRAM-SHA-256.
    ScramSha256 {
        /// User.
        user: String,
        /// Password.
        password: Secret,
    },
    /// SCRAM-SHA-512.
    ScramSha512 {
        /// User.
        user: String,
        /// Password.
        password: Secret,
    },
    /// OAUTHBEARER with tokens from here. They are sent as they are: only over TLS is that safe.
    OAuthBearer(Tokens),
}
