//! Settings of a bus on Kafka: plain data, there in every build. Only connecting needs the cargo
//! feature `kafka`.

#[cfg(feature = "kafka")]
mod adapter;
mod consumer;
mod predecessor;
mod producer;
mod rules;
mod security;

pub use consumer::{KafkaAssignment, KafkaConsumerConfig, KafkaIsolation, KafkaOffsetReset};
pub(super) use predecessor::replacement;
pub use producer::{KafkaCompression, KafkaPartitioner, KafkaProducerConfig};
pub(super) use rules::check;
pub use security::{KafkaLoginConfig, KafkaMechanism, KafkaSecurityConfig, KafkaTlsConfig};

#[cfg(feature = "kafka")]
pub(crate) use adapter::{refused, settings};

use super::{ActorPoolConfig, KeyedPoolConfig, Secret, duration, optional};
use buslane_core::TopicCompression;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Settings of the client, and of the pools, of a bus on Kafka. Brokers, group and publish timeout
/// are the bus's own.
///
/// The producer is idempotent and waits for all in-sync replicas; neither can be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// Name of this client in the brokers' logs and quotas. Default: `buslane`.
    pub client_id: String,
    /// How long establishing a connection may take; 1 s to 24 h. Default: `10s`.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a request may take that has no time of its own; 10 ms to 5 min. Default: `30s`.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How it reads.
    pub consumer: KafkaConsumerConfig,
    /// How it writes.
    pub producer: KafkaProducerConfig,
    /// Encryption and login. Default: neither.
    pub security: KafkaSecurityConfig,
    /// Creates a topic with these settings when it is used and missing. Default: none, a missing
    /// topic is an error.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub create_missing: Option<KafkaTopicConfig>,
    /// Properties of librdkafka that have no key here, by their own names. Some are secrets, so
    /// none is ever printed. What `debug` asks for is logged at level debug. Default: none.
    pub properties: BTreeMap<String, Secret>,
    /// The keyed-worker pool.
    pub keyed_pool: KeyedPoolConfig,
    /// The actor pool.
    pub actor_pool: ActorPoolConfig,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            client_id: "buslane".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            consumer: KafkaConsumerConfig::default(),
            producer: KafkaProducerConfig::default(),
            security: KafkaSecurityConfig::default(),
            create_missing: None,
            properties: BTreeMap::new(),
            keyed_pool: KeyedPoolConfig::default(),
            actor_pool: ActorPoolConfig::default(),
        }
    }
}

/// Settings of a topic that is created because it is missing. What is left out is the brokers'
/// default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaTopicConfig {
    /// Its partitions; at least 1. Default: none, the brokers' own.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Copies of each partition; 1 to 32,767. Default: none, the brokers' own.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub replication: Option<u16>,
    /// How long messages are kept; at least 1 ms. Default: none, the brokers' own.
    #[serde(with = "optional::duration", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// How many bytes a partition keeps; at least 1. Default: none, the brokers' own.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// How records are stored. Default: none, the brokers' own, which is as the producer has sent
    /// them.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub compression: Option<TopicCompression>,
}
