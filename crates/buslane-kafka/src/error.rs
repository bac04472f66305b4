//! Why there is no connection.

use crate::KafkaConfigError;
use buslane_core::BrokerError;
use thiserror::Error;

/// Why [`KafkaBroker::connect`](crate::KafkaBroker::connect) failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting breaks a rule.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// No broker has answered.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
