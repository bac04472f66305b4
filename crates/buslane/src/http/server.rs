//! A small server of its own, for applications that have none.

use super::{ServerLimits, connections::accept};
use axum::Router;
use std::{io, net::SocketAddr};
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address; port 0 for any that is free.
    pub listen: SocketAddr,
    /// Whether it may be an address that other machines reach. Nobody has to log in. Default: no.
    pub allow_public: bool,
    /// How many clients it keeps, and for how long it waits for one.
    pub limits: ServerLimits,
}

impl Listen {
    /// This address, which must be a loopback address.
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

/// Why a server does not listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Other machines could reach it, and nobody has said that they may.
    #[error("listen: must be a loopback address unless allow_public is set, found {0}")]
    Public(SocketAddr),
    /// A limit breaks a rule.
    #[error("limits.{name}: {rule}, found {found}")]
    Limit {
        /// Which.
        name: &'static str,
        /// The rule.
        rule: String,
        /// What was found.
        found: String,
    },
    /// The address cannot be used.
    #[error("listen: {address}: {error}")]
    Address {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// A server that listens.
///
/// # Drop behaviour
/// Dropping it ends the server: it takes no more requests, and those that run are answered.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and waits until what runs is answered, for 3 s at most; then no connection is open.
    /// Shut the bus down first: then a probe hears that it is not ready.
    pub async fn close(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

/// Serves a router.
///
/// # Errors
/// A public address without leave, one that cannot be used, or a limit that breaks a rule.
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
