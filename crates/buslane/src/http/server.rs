//! A small server of its own, for applications that have none.

use axum::Router;
use std::{io, net::SocketAddr, time::Duration};
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info};

/// How long a close waits for requests that run.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address; port 0 for any that is free.
    pub listen: SocketAddr,
    /// Whether it may be an address that other machines reach. Nobody has to log in. Default: no.
    pub allow_public: bool,
}

impl Listen {
    /// This address, which must be a loopback address.
    #[must_use]
    pub const fn on(listen: SocketAddr) -> Self {
        Self { listen, allow_public: false }
    }

    /// An address that other machines may reach.
    #[must_use]
    pub const fn public(listen: SocketAddr) -> Self {
        Self { listen, allow_public: true }
    }
}

/// Why a server does not listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Other machines could reach it, and nobody has said that they may.
    #[error("listen: must be a loopback address unless allow_public is set, found {0}")]
    Public(SocketAddr),
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

    /// Ends it, and waits until what runs is answered; not for long for somebody who has not asked to the end. Shut the bus
    /// down first: then a probe hears that it is not ready.
    pub async fn close(mut self) {
        drop(self.stop);
        if timeout(LAST_WORDS, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Serves a router.
///
/// # Errors
/// A public address without leave, or one that cannot be used.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn serve(router: Router, listen: Listen) -> Result<Server, HttpError> {
    let Listen { listen: address, allow_public } = listen;
    if !allow_public && !address.ip().to_canonical().is_loopback() {
        return Err(HttpError::Public(address));
    }
    let refused = |error| HttpError::Address { address, error };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(stopped)
            .await
        {
            error!(%address, %error, "http server ended");
        }
    });
    info!(%address, "http server listens");
    Ok(Server { address, task, stop: stop.drop_guard() })
}
