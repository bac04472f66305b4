//! The error of a connection attempt.

use crate::config::KafkaConfigError;
use buslane_core::BrokerError;
use thiserror::Error;

/// Why [`KafkaBroker::connect`](crate::KafkaBroker::connect) failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting is not valid.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// No broker has answered, or the login was refused.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
