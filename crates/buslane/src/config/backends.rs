//! Settings of the embedded broker. Those of the backends that the URL does not name are checked
//! and unused.

use super::{ActorPoolConfig, KeyedPoolConfig};
use serde::{Deserialize, Serialize};

/// Settings of the embedded broker and of the pools beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// Partitions of a topic that is created by its first use; 1 to 4,096. Default: `8`.
    pub partitions: u32,
    /// Most messages that a partition holds; when they are unsettled, publishers wait; at least 1.
    /// Default: `65536`.
    pub max_messages: usize,
    /// Most bytes that a partition holds; a larger message is refused; at least 1. Default:
    /// `67108864` (64 MiB).
    pub max_bytes: usize,
    /// Most bytes of one message, key and headers included; a larger one is refused; at least 1.
    /// Default: `1048588`, as on Kafka.
    pub max_message_bytes: usize,
    /// Whether the first use of a topic creates it; otherwise using one that does not exist is an
    /// error, as on a Kafka that creates none. Those under `topics` exist. Default: `true`.
    pub create_missing: bool,
    /// The keyed-worker pool.
    pub keyed_pool: KeyedPoolConfig,
    /// The actor pool.
    pub actor_pool: ActorPoolConfig,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            partitions: 8,
            max_messages: 65_536,
            max_bytes: 64 * 1024 * 1024,
            max_message_bytes: 1_048_588,
            create_missing: true,
            keyed_pool: KeyedPoolConfig::default(),
            actor_pool: ActorPoolConfig::default(),
        }
    }
}
