//! A small server, for applications that have none.

use super::{ServerLimits, connections::accept};
use axum::Router;
use std::{io, net::SocketAddr};
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// The address; port 0 chooses a free port.
    pub listen: SocketAddr,
    /// Whether other machines may reach the address. There is no login. Default: no.
    pub allow_public: bool,
    /// The bounds of its connections.
    pub limits: ServerLimits,
}

impl Listen {
    /// A loopback address.
    #[must_use]
    pub fn on(listen: SocketAddr) -> Self {
        Self { listen, allow_public: false, limits: ServerLimits::default() }
    }

    /// An address that other machines may reach.
    #[must_use]
    pub fn public(listen: SocketAddr) -> Self {
        Self { allow_public: true, ..Self::on(listen) }
    }

    /// With these limits.
    #[must_use]
    pub const fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// The reason why a server does not listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Other machines could reach the address, and [`Listen::allow_public`] is not set.
    #[error("listen: must be a loopback address unless allow_public is set, found {0}")]
    Public(SocketAddr),
    /// A limit breaks a rule.
    #[error("limits.{name}: {rule}, found {found}")]
    Limit {
        /// The name of the limit.
        name: &'static str,
        /// The rule.
        rule: String,
        /// The value that breaks it.
        found: String,
    },
    /// The address cannot be used.
    #[error("listen: {address}: {error}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        error: io::Error,
    },
}

/// A running server.
///
/// # Drop behaviour
/// Dropping it ends the server: it accepts no more requests, and answers those in progress.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Server {
    /// The address that it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server: waits at most 3 s for the requests in progress, then closes every
    /// connection. Shut the bus down first: its probes then see that it is not ready.
    pub async fn close(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

/// Serves a router.
///
/// # Errors
/// A public address that is not allowed, an address that cannot be used, or a limit that breaks a
/// rule.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn serve(router: Router, listen: Listen) -> Result<Server, HttpError> {
    let Listen { listen: address, allow_public, limits } = listen;
    let limits = limits.check()?;
    if !allow_public && !address.ip().to_canonical().is_loopback() {
        return Err(HttpError::Public(address));
    }
    let refused = |error| HttpError::Address { address, error };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(accept(listener, router, limits, stop.clone()));
    info!(%address, "http server listens");
    Ok(Server { address, task, stop: stop.drop_guard() })
}
