//! The errors of a bus.

use crate::ConfigError;
use buslane_core::{BrokerError, EnvelopeError, PublishError, Topic, TopicError};
use thiserror::Error;

/// Any error of an [`EventBus`](crate::EventBus).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BusError {
    /// The bus is shut down, or shutting down.
    #[error("eventbus is closed")]
    Closed,
    /// The topic has a handler already; that one stays.
    #[error("already subscribed to topic: {0}")]
    AlreadySubscribed(Topic),
    /// The topic has no subscription.
    #[error("not subscribed to topic: {0}")]
    NotSubscribed(Topic),
    /// A topic's name breaks a rule.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// An envelope breaks a rule; nothing was sent.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A setting breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option of a subscription breaks a rule.
    #[error("subscription to {topic}: {option}: {rule}")]
    Option {
        /// The topic.
        topic: Topic,
        /// Name of the option.
        option: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// The dead letters of a subscription cannot be written, so it does not begin.
    #[error(
        "subscription to {topic}: dead letter topic {dead_letters} cannot be written: {reason}; \
         create it, or choose one that exists and that this client may write to"
    )]
    DeadLetterTopic {
        /// The topic to read.
        topic: Topic,
        /// The topic of its dead letters.
        dead_letters: Topic,
        /// The broker's reason.
        #[source]
        reason: BrokerError,
    },
    /// A request about a parked key was refused.
    #[error("parked key {key} of {topic}: {reason}")]
    Parking {
        /// The topic.
        topic: String,
        /// The key.
        key: String,
        /// Why.
        reason: &'static str,
    },
    /// The URL names a broker that this build does not contain.
    #[error("{scheme}:// is not part of this build: {hint}")]
    Backend {
        /// The URL's scheme.
        scheme: &'static str,
        /// The cargo feature to add.
        hint: &'static str,
    },
    /// The broker did not store a record.
    #[error(transparent)]
    Publish(PublishError),
    /// The broker refused a request, or did not answer it.
    #[error(transparent)]
    Broker(BrokerError),
}

impl From<PublishError> for BusError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Closed => Self::Closed,
            other => Self::Publish(other),
        }
    }
}

impl From<BrokerError> for BusError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Closed => Self::Closed,
            other => Self::Broker(other),
        }
    }
}
