//! The connections of the server: accepted, kept to their limits, and closed.
//!
//! At the limit, a new connection closes the one whose last request began longest ago: idle
//! clients cannot keep a probe out.

use super::ServerLimits;
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The longest time that a close waits for requests in progress.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// The pause after a failed accept when no connection is open that could be closed.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`, then waits for the requests in progress. Leaves no task.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    stop: CancellationToken,
) {
    let (open, mut tasks, mut is_told) = (Arc::new(Open::default()), JoinSet::new(), false);
    loop {
        let accepted = select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                while tasks.len() >= limits.connections {
                    open.close_oldest();
                    tasks.join_next().await;
                }
                is_told = false;
                let (router, connection) = (router.clone(), open.add());
                tasks.spawn(converse(stream, peer, router, limits, connection, stop.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Probably out of file descriptors: closing a connection frees one.
                if !std::mem::replace(&mut is_told, true) {
                    warn!(%error, open = tasks.len(), "http server accepts no connection");
                }
                if open.close_oldest() {
                    tasks.join_next().await;
                } else {
                    sleep(TRY_AGAIN).await;
                }
            }
        }
    }
    drop(listener);
    let _ = timeout(LAST_WORDS, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
}

/// Whether the client disconnected before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

/// Answers the requests of one connection until either side closes it.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: ServerLimits,
    connection: Arc<Connection>,
    stop: CancellationToken,
) {
    let (own, router) = (Arc::clone(&connection), TowerToHyperService::new(router));
    let service = service_fn(move |request: Request<Incoming>| {
        own.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = timeout(limits.request_timeout, router.call(request));
        async move { answer.await.unwrap_or_else(|_| Ok(too_slow())) }
    });
    let mut http = http1::Builder::new();
    // The time starts with the connection, and again with the end of each answer.
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout);
    let mut conversation = pin!(http.serve_connection(TokioIo::new(stream), service));
    let patience = limits.request_timeout + limits.idle_timeout;
    let mut is_stopping = false;
    loop {
        let until = connection.begun() + patience;
        select! {
            // An error of one connection concerns its client alone.
            _ = conversation.as_mut() => return,
            () = connection.closed.cancelled() => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                conversation.as_mut().graceful_shutdown();
            }
            () = sleep_until(until) => {
                if connection.begun() + patience <= until {
                    return;
                }
            }
        }
    }
}

/// The answer to a request that took too long, probably to arrive.
fn too_slow() -> Response {
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    (StatusCode::REQUEST_TIMEOUT, close).into_response()
}

/// The open connections.
#[derive(Default)]
struct Open(Mutex<Ages>);

#[derive(Default)]
struct Ages {
    next: u64,
    /// By the number of the last request or, before the first one, of the opening. All connections
    /// share these numbers.
    oldest: BTreeMap<u64, CancellationToken>,
}

impl Ages {
    fn push(&mut self, closed: CancellationToken) -> u64 {
        let number = self.next;
        self.next += 1;
        self.oldest.insert(number, closed);
        number
    }
}

impl Open {
    fn add(self: &Arc<Self>) -> Arc<Connection> {
        let closed = CancellationToken::new();
        let number = self.0.lock().push(closed.clone());
        Arc::new(Connection {
            open: Arc::clone(self),
            last: Mutex::new((number, Instant::now())),
            closed,
        })
    }

    /// Closes the connection whose last request began longest ago; `false` when none is open.
    fn close_oldest(&self) -> bool {
        let oldest = self.0.lock().oldest.pop_first();
        oldest.is_some_and(|(_, closed)| {
            closed.cancel();
            true
        })
    }
}

/// One of the open connections.
///
/// # Drop behaviour
/// The connection counts as closed.
struct Connection {
    open: Arc<Open>,
    /// The number of the last request, and the time of that request.
    last: Mutex<(u64, Instant)>,
    closed: CancellationToken,
}

impl Connection {
    /// Called when a request begins.
    fn begin(&self) {
        let mut last = self.last.lock();
        let mut ages = self.open.0.lock();
        // A connection that is being closed has left the list.
        if let Some(closed) = ages.oldest.remove(&last.0) {
            *last = (ages.push(closed), Instant::now());
        }
    }

    /// The time of the last request, or of the opening.
    fn begun(&self) -> Instant {
        self.last.lock().1
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.0.lock().oldest.remove(&self.last.get_mut().0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_the_connection_that_has_not_asked_for_the_longest_time_makes_way() {
        let open = Arc::new(Open::default());
        assert!(!open.close_oldest());
        let [first, second, third] = [open.add(), open.add(), open.add()];
        first.begin();
        drop(second);
        let is_closed = || [&first, &third].map(|connection| connection.closed.is_cancelled());
        assert!(open.close_oldest());
        assert_eq!(is_closed(), [false, true]);
        // A closed connection does not return.
        third.begin();
        assert!(open.close_oldest());
        assert_eq!(is_closed(), [true, true]);
        assert!(!open.close_oldest());
        drop((first, third));
        assert!(open.0.lock().oldest.is_empty());
    }
}
