//! Why there is no connection, and which errors pass.

use crate::NatsConfigError;
use async_nats::jetstream::{self, ErrorCode};
use buslane_core::BrokerError;
use thiserror::Error;

/// Why [`NatsBroker::connect`](crate::NatsBroker::connect) failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting breaks a rule.
    #[error(transparent)]
    Config(#[from] NatsConfigError),
    /// No server has answered, or it has refused the login.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The server cannot do what the settings ask for.
    #[error("nats-server {version} at {servers}: {reason}")]
    Server {
        /// Where it is.
        servers: String,
        /// Its version.
        version: String,
        /// What it cannot do.
        reason: String,
    },
}

/// Whether the server will say something else later: a cluster that is choosing its leaders. One
/// that is full stays so.
pub(crate) fn is_temporary(error: &jetstream::Error) -> bool {
    error.code() == 503 && error.error_code() != ErrorCode::INSUFFICIENT_RESOURCES
}
