//! How a bus reads from NATS.

use super::super::{duration, optional};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a durable consumer begins that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NatsStart {
    /// At the oldest message. The default.
    #[default]
    Earliest,
    /// Behind the newest message.
    Latest,
}

/// Settings of the durable consumers. The server shows them on its own consumers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsConsumerConfig {
    /// Where a new one begins. Default: `earliest`.
    pub start: NatsStart,
    /// Silence after which the server delivers a message again; what waits or runs is kept alive
    /// each third of it; 100 ms to 24 h. Default: `30s`.
    #[serde(with = "duration")]
    pub ack_wait: Duration,
    /// How often the server delivers a message; at least 1, and more than `backoff` has entries. An
    /// envelope's last delivery has one attempt, then the terminal policy; where that is `block`,
    /// it is tried again as long as this process lives, and its end is the end of the envelope.
    /// Default: none, without end: the bus counts attempts.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub max_deliver: Option<u32>,
    /// Waits before the server's own redeliveries, in place of `ack_wait`; each 100 ms to 24 h.
    /// Default: none.
    #[serde(with = "duration::list")]
    pub backoff: Vec<Duration>,
    /// Open messages of one durable consumer, over all its readers; more than the pools may park, 1
    /// to 10,000,000. Default: `100000`.
    pub max_ack_pending: u32,
    /// Copies of a consumer's state; 1 to 5. Default: none, as many as the stream has.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u16>,
    /// Whether a consumer's state lives in memory. Default: `false`.
    pub memory_storage: bool,
    /// Messages that are fetched ahead of each source; 1 to 50,000. Default: `1000`.
    pub prefetch: u32,
    /// How long a request for messages stands at the server; 1 s to 24 h. Default: `30s`.
    #[serde(with = "duration")]
    pub expires: Duration,
    /// How often the server says that a request stands; 100 ms to half of `expires`. Default: `5s`.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// How long open messages of a partition that moves are awaited; up to 24 h. Default: `10s`.
    #[serde(with = "duration")]
    pub drain_deadline: Duration,
    /// Silence after which other members take the partitions of one; 300 ms to 24 h. Default:
    /// `10s`.
    #[serde(with = "duration")]
    pub lease: Duration,
}

impl Default for NatsConsumerConfig {
    fn default() -> Self {
        Self {
            start: NatsStart::default(),
            ack_wait: Duration::from_secs(30),
            max_deliver: None,
            backoff: Vec::new(),
            max_ack_pending: 100_000,
            replicas: None,
            memory_storage: false,
            prefetch: 1_000,
            expires: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            drain_deadline: Duration::from_secs(10),
            lease: Duration::from_secs(10),
        }
    }
}
