//! What can go wrong between a bus and its broker.

use crate::Topic;
use std::time::Duration;
use thiserror::Error;

/// Why a record was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker, or the way to it, was full for the whole publish timeout.
    #[error("publish to {topic} timed out after {waited:?}: {detail}")]
    Timeout {
        /// Where to.
        topic: Topic,
        /// How long the publisher waited.
        waited: Duration,
        /// What it waited for.
        detail: String,
    },
    /// The record is larger than something on its way lets through.
    #[error("{topic} refused the record: its size of {bytes} bytes exceeds {limit}")]
    TooLarge {
        /// Where to.
        topic: Topic,
        /// Size of the record: key, headers and body.
        bytes: usize,
        /// What limits it, with the figure where the broker tells it.
        limit: String,
    },
    /// The broker cannot store records of this topic now: no room, no leader, too few replicas.
    #[error("{topic} cannot store the record now: {reason}")]
    Unavailable {
        /// Where to.
        topic: Topic,
        /// The broker's reason.
        reason: String,
    },
    /// The broker refused the record for another reason than its size: no such topic, no
    /// permission, a rule of the topic.
    #[error("{topic} refused the record: {reason}")]
    Refused {
        /// Where to.
        topic: Topic,
        /// The broker's reason.
        reason: String,
    },
    /// The broker cannot be reached.
    #[error("broker is not reachable: {reason}")]
    Unreachable {
        /// What the client library says.
        reason: String,
    },
    /// The bus or the broker is closed.
    #[error("eventbus is closed")]
    Closed,
}

impl PublishError {
    /// Whether the same record is refused until the record, the topic or the client's rights
    /// change. Other errors are outages, which pass by themselves.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Refused { .. })
    }
}

/// Why a broker did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker is closed.
    #[error("eventbus is closed")]
    Closed,
    /// The broker cannot be reached.
    #[error("broker is not reachable: {reason}")]
    Unreachable {
        /// What the client library says.
        reason: String,
    },
    /// A setting is not possible.
    #[error("topic {topic}: {setting}: {rule}")]
    Setting {
        /// The topic.
        topic: Topic,
        /// Name of the setting.
        setting: &'static str,
        /// Why it is refused.
        rule: String,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist")]
    UnknownTopic {
        /// The missing topic.
        topic: Topic,
    },
    /// Something took longer than its deadline.
    #[error("{what} did not end within {deadline:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        deadline: Duration,
    },
}
