//! Settings of a Kafka client: one definition each, and the properties of librdkafka that they
//! become.
//!
//! Every field has a default and an effect. A property of librdkafka without a field here can be
//! passed through by its own name; a name that the bus controls is refused with the name of the
//! field to use instead.

#[cfg(all(test, feature = "client"))]
mod effect_tests;
#[cfg(feature = "client")]
mod properties;
mod security;
#[cfg(all(test, feature = "client"))]
mod tests;

pub use security::{Login, Mechanism, Security, Tls};

use buslane_core::{Secret, TopicCompression, TopicSettings};
use buslane_settings::{
    BrokenRule, at_least, at_most, choices,
    duration::{hours, millis, minutes, secs, show},
    kind, not_blank, range, settings, whole_millis,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

// The bounds are librdkafka's: it would refuse the same values later, by names that no file has.
const INT: u32 = i32::MAX.unsigned_abs();
const BYTES: &str = "integer, bytes";
const KIB: &str = "integer, KiB";

settings! {
    /// Settings of one `KafkaBroker`: one group member and one producer.
    ///
    /// The producer is idempotent and waits for all in-sync replicas; neither can be changed.
    #[derive(Eq)]
    pub struct KafkaConfig {
        /// Name of this client in the brokers' logs and quotas.
        client_id: String = "buslane".to_owned(), not_blank();
        /// How long establishing a connection may take.
        connect_timeout: Duration = secs(10), range(secs(1), hours(24)), whole_millis();
        /// How long any other request may take.
        request_timeout: Duration = secs(30), range(millis(10), minutes(5)), whole_millis();
        /// Properties of librdkafka that have no key here, by their own names, in TOML in quotes;
        /// one that the bus controls is refused. Some are secrets, so none is ever printed. What
        /// `debug` asks for is logged at level debug.
        properties: BTreeMap<String, Secret>, kind("table of texts, never shown");
        /// Creates a topic that is used and missing; without it a missing topic is an error.
        create_missing: Option<TopicConfig>;
        /// The group member.
        consumer: ConsumerConfig;
        /// The producer.
        producer: ProducerConfig;
        /// Encryption and login; without them, everything is sent as plain text.
        security: Security;
    }
    given {
        /// `host:port` of at least one broker, separated by commas. A bus takes them from its URL.
        pub brokers: String = "localhost:9092".to_owned();
        /// The consumer group; a bus gives its own.
        pub group: String = "buslane".to_owned();
    }
}

settings! {
    /// Settings of a topic that is created because it is missing. The brokers' defaults apply to
    /// settings that are left out.
    #[derive(Eq)]
    pub struct TopicConfig {
        /// Number of partitions.
        partitions: Option<u32>, at_least(1), at_most(INT);
        /// Copies of each partition.
        replication: Option<u16>, at_least(1), at_most(i16::MAX.unsigned_abs());
        /// How long messages are kept.
        retention: Option<Duration>, at_least(millis(1)), whole_millis();
        /// Bytes that each partition keeps.
        retention_bytes: Option<u64>, kind(BYTES), at_least(1), at_most(i64::MAX.unsigned_abs());
        /// Compression of stored records; `producer` keeps that of each batch.
        compression: Option<TopicCompression>;
    }
}

impl From<TopicConfig> for TopicSettings {
    fn from(topic: TopicConfig) -> Self {
        let TopicConfig { partitions, replication, retention, retention_bytes, compression } =
            topic;
        Self { partitions, replication, retention, retention_bytes, compression, ..Self::default() }
    }
}

/// Where a group begins reading without a commit, or when the committed offset no longer exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetReset {
    /// At the oldest message. The default.
    #[default]
    Earliest,
    /// Behind the newest message.
    Latest,
}

/// How the members of a group share its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// Partitions that keep their member continue during a rebalance. The default.
    #[default]
    CooperativeSticky,
    /// Ranges of each topic; every rebalance stops all members.
    Range,
    /// One partition after the other; every rebalance stops all members.
    RoundRobin,
    /// The protocol in which the brokers decide (KIP-848, Kafka 4.0 or later). Session and
    /// heartbeat times are theirs then. A member whose last subscription has ended stays in its
    /// group without a partition until it is closed; with the others it leaves.
    Broker,
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Committed ones. The default.
    #[default]
    ReadCommitted,
    /// Aborted and unfinished ones too.
    ReadUncommitted,
}

settings! {
    /// Settings of the group member. Times are whole milliseconds.
    #[derive(Eq)]
    pub struct ConsumerConfig {
        /// Where a group begins reading without a commit.
        offset_reset: OffsetReset;
        /// How the members of a group share its partitions. With `range` and `round_robin` every
        /// rebalance stops all members; `broker` is the protocol of Kafka 4.0 in which the brokers
        /// decide; a member whose last subscription has ended stays in its group there, without a
        /// partition.
        assignment: Assignment;
        /// Static membership: a name that a process keeps over restarts, by which it gets the
        /// partitions of its killed predecessor at once, except with `assignment: broker`. Each
        /// process of a group needs its own: of two with the same, the older one ends.
        instance_id: Option<String>, not_blank();
        /// Silence after which the group takes the member for dead. Until then no message of a
        /// killed process is handled. At most `max_poll_interval`; with `assignment: broker` the
        /// brokers' own setting applies.
        session_timeout: Duration = secs(10), range(millis(1), hours(1)), whole_millis();
        /// Time between two heartbeats; at most a third of `session_timeout`. With
        /// `assignment: broker` the brokers' own setting applies.
        heartbeat_interval: Duration = secs(3), range(millis(1), hours(1)), whole_millis();
        /// How long the polling thread may be busy before the group takes the member for stuck.
        /// Handlers do not count.
        max_poll_interval: Duration = minutes(5), range(millis(1), hours(24)), whole_millis();
        /// Which records of transactions are read.
        isolation: Isolation;
        /// Bytes that a broker collects before it answers, unless `fetch_max_wait` passes.
        fetch_min_bytes: u32 = 1, kind(BYTES), range(1, 100_000_000);
        /// How long a broker waits for `fetch_min_bytes`. A busy partition beside idle ones may
        /// wait as long, because the client sends one fetch request at a time.
        fetch_max_wait: Duration = millis(50), range(Duration::ZERO, minutes(5)), whole_millis();
        /// Bytes of one answer, at least `producer.max_message_bytes`.
        fetch_max_bytes: u32 = 50 << 20, kind(BYTES), range(1_000_000, 2_147_483_135);
        /// Bytes of one partition in an answer.
        fetch_partition_bytes: u32 = 1 << 20, kind(BYTES), range(1, 1_000_000_000);
        /// Messages that are fetched ahead of each partition.
        prefetch_messages: u32 = 2_000, range(1, 10_000_000);
        /// KiB that are fetched ahead of each partition.
        prefetch_kib: u32 = 16_384, kind(KIB), range(1, 2_097_151);
        /// How long a revoked partition waits for its running handlers; less than
        /// `max_poll_interval`.
        drain_deadline: Duration = secs(10);
        /// Time between two commits.
        commit_interval: Duration = secs(1), range(millis(1), hours(24)), whole_millis();
        /// Settled messages after which a commit is made sooner.
        commit_every: u64 = 10_000, at_least(1);
        /// Characters of metadata in a commit, at most the brokers' `offset.metadata.max.bytes`; 0
        /// for none.
        metadata_limit: usize = 4_096, kind("integer, characters");
    }
    also Self::times_agree;
}

impl ConsumerConfig {
    fn times_agree(&self, key: &str) -> Result<(), BrokenRule> {
        let (session, poll) = (self.session_timeout, self.max_poll_interval);
        let broken = |name: &str, rule: String, found: Duration| {
            BrokenRule::because(format!("{key}.{name}"), rule, show(found))
        };
        if self.assignment != Assignment::Broker && self.heartbeat_interval * 3 > session {
            let rule = format!("must be at most a third of session_timeout ({})", show(session));
            return broken("heartbeat_interval", rule, self.heartbeat_interval);
        }
        if session > poll {
            let rule = format!("must be at most max_poll_interval ({})", show(poll));
            return broken("session_timeout", rule, session);
        }
        if self.drain_deadline >= poll {
            let rule = format!("must be less than max_poll_interval ({})", show(poll));
            return broken("drain_deadline", rule, self.drain_deadline);
        }
        Ok(())
    }
}

/// How batches of records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// FNV-1a, as Go producers choose. The default.
    #[default]
    Fnv1a,
    /// Murmur2, as Java producers choose.
    Murmur2,
}

settings! {
    /// Settings of the producer. It is idempotent and waits for all in-sync replicas; neither can
    /// be changed.
    #[derive(Eq)]
    pub struct ProducerConfig {
        /// How batches of records are compressed.
        compression: Compression;
        /// How a key chooses its partition: as Go producers do, or as Java producers do.
        partitioner: Partitioner;
        /// How long a record waits for others to share its batch; less than `publish_timeout`.
        linger: Duration = Duration::ZERO, range(Duration::ZERO, minutes(15)), whole_millis();
        /// Bytes of one batch.
        batch_bytes: u32 = 1_000_000, kind(BYTES), range(1, INT);
        /// Bytes of the largest record; the brokers and the topic must accept it too.
        max_message_bytes: u32 = 1_000_000, kind(BYTES), range(1_000, 1_000_000_000);
        /// Records that may wait for the brokers; more make publishers wait.
        queue_messages: u32 = 100_000, range(1, INT);
        /// KiB of records that may wait for the brokers; more make publishers wait.
        queue_kib: u32 = 262_144, kind(KIB), range(1, INT);
        /// How often a batch is sent again before `publish_timeout` ends it. Fewer attempts leave
        /// it unknown whether a batch was stored.
        retries: u32 = INT, range(1, INT);
    }
    given {
        /// How long a record may take from the call to the acknowledgement; a bus gives its own.
        pub publish_timeout: Duration = secs(10);
    }
    also Self::linger_ends;
}

impl ProducerConfig {
    fn linger_ends(&self, key: &str) -> Result<(), BrokenRule> {
        if self.linger.is_zero() || self.linger < self.publish_timeout {
            return Ok(());
        }
        let rule = format!("must be less than publish_timeout ({})", show(self.publish_timeout));
        BrokenRule::because(format!("{key}.linger"), rule, show(self.linger))
    }
}

choices!(OffsetReset, Assignment, Isolation, Compression, Partitioner);
