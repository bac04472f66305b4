//! Settings of a bus on NATS: plain data, there in every build. Only connecting needs the cargo
//! feature `nats`.

#[cfg(feature = "nats")]
mod adapter;
mod consumer;
mod partitions;
mod rules;
mod security;
mod servers;

pub use consumer::{NatsConsumerConfig, NatsStart};
pub use partitions::NatsPartitions;
pub(super) use rules::check;
pub use security::{NatsLoginConfig, NatsSecurityConfig, NatsTlsConfig};

#[cfg(feature = "nats")]
pub(crate) use adapter::{refused, settings};

use super::{ActorPoolConfig, KeyedPoolConfig, duration, optional};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the client, and of the pools, of a bus on NATS. Servers, group and publish timeout
/// are the bus's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsConfig {
    /// Name of this client in the server's figures. Default: `buslane`.
    pub client_name: String,
    /// How long establishing a connection may take; 10 ms to 24 h. Default: `10s`.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a request to the server may take; 10 ms to 24 h. Default: `5s`.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How often the connection is proven alive; 10 ms to 24 h. Default: `20s`.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// Topics of core NATS: nothing is stored, and only who listens gets a message. Default: none.
    pub ephemeral: Vec<String>,
    /// How it reads.
    pub consumer: NatsConsumerConfig,
    /// How it writes.
    pub publisher: NatsPublisherConfig,
    /// The streams of topics that no stream covers.
    pub stream: NatsStreamConfig,
    /// Encryption and login. Default: neither.
    pub security: NatsSecurityConfig,
    /// The keyed-worker pool.
    pub keyed_pool: KeyedPoolConfig,
    /// The actor pool.
    pub actor_pool: ActorPoolConfig,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            client_name: "buslane".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(20),
            ephemeral: Vec::new(),
            consumer: NatsConsumerConfig::default(),
            publisher: NatsPublisherConfig::default(),
            stream: NatsStreamConfig::default(),
            security: NatsSecurityConfig::default(),
            keyed_pool: KeyedPoolConfig::default(),
            actor_pool: ActorPoolConfig::default(),
        }
    }
}

/// How a bus publishes to NATS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsPublisherConfig {
    /// Records that wait for their acknowledgement, then publishers wait; 1 to 50,000. Default:
    /// `4000`.
    pub max_in_flight: u32,
    /// How long the server knows the event ids of a stream that is created; 100 ms to 24 h.
    /// Default: `2m`.
    #[serde(with = "duration")]
    pub duplicate_window: Duration,
}

impl Default for NatsPublisherConfig {
    fn default() -> Self {
        Self { max_in_flight: 4_000, duplicate_window: Duration::from_secs(120) }
    }
}

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NatsStorage {
    /// In files.
    File,
    /// In the server's memory: gone with its process.
    Memory,
}

/// Settings of a stream that is created because none covers a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsStreamConfig {
    /// Whether one is created; else a topic without a stream is an error. Default: `true`.
    pub create: bool,
    /// How the keys of a topic are shared out to the members of a group. Default: `auto`, 8
    /// partitions for envelopes.
    pub partitions: NatsPartitions,
    /// Copies; 1 to 5. Default: none, one.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub replication: Option<u16>,
    /// How long messages are kept; at least 100 ms. Default: none, for ever.
    #[serde(with = "optional::duration", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// How many bytes it keeps; at least 1. Default: none, no limit.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// Where it keeps messages. Default: none, files for envelopes and memory for regular messages.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub storage: Option<NatsStorage>,
}

impl Default for NatsStreamConfig {
    fn default() -> Self {
        Self {
            create: true,
            partitions: NatsPartitions::default(),
            replication: None,
            retention: None,
            retention_bytes: None,
            storage: None,
        }
    }
}
