//! Errors of the connection, and a classification of the server's errors.

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
    /// No server answers, or the server refuses the login.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The server lacks an ability that the adapter needs.
    #[error("nats-server {version} at {servers}: {reason}")]
    Server {
        /// The addresses of the servers.
        servers: String,
        /// The version of the server.
        version: String,
        /// The missing ability, and how to get it.
        reason: String,
    },
}

/// The setting that a [`BrokerError::Setting`] names when the server lacks resources, such as
/// storage.
pub(crate) const SERVER: &str = "server";

/// The setting to name for a lasting error of the server. As in HTTP, a code from 500 on is a fault
/// of the server and not of the request.
pub(crate) fn setting_of(error: &jetstream::Error, setting: &'static str) -> &'static str {
    if error.code() >= 500 { SERVER } else { setting }
}

/// Whether the error passes by itself within seconds, for example while a cluster elects leaders. A
/// full server stays full.
pub(crate) fn is_temporary(error: &jetstream::Error) -> bool {
    error.code() == 503 && error.error_code() != ErrorCode::INSUFFICIENT_RESOURCES
}
