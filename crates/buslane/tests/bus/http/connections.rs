//! Clients that are slow or silent: they are closed, and keep no probe out.

use super::kit::{Answer, ask, free, watchful};
use buslane::{
    Config, EventBus,
    http::{HttpError, Server, ServerLimits, router, serve},
};
use buslane_testkit::leak::{no_more_tasks_than, tasks};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than any test takes.
const FOREVER: Duration = Duration::from_secs(3_600);
const GENEROUS: Duration = Duration::from_secs(60);

const TOKEN: &str = "an-operators-token";
const ASKS: &str = "GET /livez HTTP/1.1\r\nHost: bus\r\n\r\n";
const BEGINS: &str = "GET /livez HTTP/1.1\r\nHost: b";

/// A bus and its server, which waits for ever unless the limits say otherwise.
async fn ground(limits: ServerLimits) -> (EventBus, Server) {
    let mut config = watchful();
    config.rollout.token = Some(TOKEN.into());
    let bus = EventBus::connect(config).await.unwrap();
    let server = serve(router(&bus), free().limits(limits)).await.unwrap();
    (bus, server)
}

fn limits(connections: usize, idle_timeout: Duration, request_timeout: Duration) -> ServerLimits {
    let mut limits = ServerLimits::default();
    limits.connections = connections;
    (limits.idle_timeout, limits.request_timeout) = (idle_timeout, request_timeout);
    limits
}

fn patient(connections: usize) -> ServerLimits {
    limits(connections, FOREVER, FOREVER)
}

/// A connection on which `text` was said.
async fn said(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads what the server says until it closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that is closed with something unread is reset.
    let _ = timeout(GENEROUS, stream.read_to_end(&mut text)).await.expect("it is closed");
    String::from_utf8(text).unwrap()
}

/// Asks on a connection that stays open.
async fn asked_again(stream: &mut TcpStream) -> String {
    stream.write_all(ASKS.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        let read =
            timeout(GENEROUS, stream.read_buf(&mut text)).await.expect("it is answered").unwrap();
        assert!(read > 0, "it is open");
    }
    String::from_utf8(text).unwrap()
}

async fn end(bus: EventBus, server: Server) {
    bus.shutdown(Duration::ZERO).await.unwrap();
    server.close().await;
}

#[tokio::test]
async fn o3_a_slow_head_and_an_idle_connection_are_closed() {
    let mut limits = ServerLimits::default();
    limits.idle_timeout = Duration::from_millis(50);
    let (bus, server) = ground(limits).await;
    for (said_first, answer) in [("", ""), (BEGINS, ""), (ASKS, "HTTP/1.1 200 OK")] {
        let mut stream = said(server.address(), said_first).await;
        let text = until_closed(&mut stream).await;
        assert!(text.starts_with(answer) && text.is_empty() == answer.is_empty(), "{text}");
    }
    end(bus, server).await;
}

#[tokio::test]
async fn o3_a_slow_body_is_answered_with_408_and_closed() {
    let limits = limits(8, FOREVER, Duration::from_millis(50));
    let (bus, server) = ground(limits).await;
    let head = "PUT /rollout HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer an-operators-token\r\nContent-Length: 20\r\n\r\n{\"per";
    let text = until_closed(&mut said(server.address(), head).await).await;
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout"), "{text}");
    assert!(text.contains("connection: close"), "{text}");
    end(bus, server).await;
}

/// A client that does not read its answer: what the system buffers is full, so the answer cannot
/// end.
#[tokio::test]
async fn o3_an_answer_that_is_not_read_is_given_up() {
    let bus = EventBus::connect(Config::default()).await.unwrap();
    let short = Duration::from_millis(50);
    let limits = limits(64, short, short);
    let page = "#".repeat(64 << 20);
    let router = buslane::http::router_with_metrics(&bus, move || page.clone());
    let server = serve(router, free().limits(limits)).await.unwrap();
    let before = tasks();
    let stream = said(server.address(), "GET /metrics HTTP/1.1\r\nHost: bus\r\n\r\n").await;
    stream.readable().await.unwrap();
    no_more_tasks_than(before).await;
    drop(stream);
    end(bus, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_probe_is_answered_however_many_connections_are_held() {
    let (bus, server) = ground(patient(4)).await;
    let address = server.address();
    let mut held = Vec::new();
    for number in 0..200 {
        held.push(said(address, if number % 2 == 0 { BEGINS } else { "" }).await);
        if number % 10 == 0 {
            let Answer { code, .. } = ask(address, "GET", "/livez").await;
            assert_eq!(code, 200);
        }
    }
    // No more than the limit are open, and those are of the last ones.
    for mut stream in held.drain(..196) {
        assert_eq!(until_closed(&mut stream).await, "");
    }
    end(bus, server).await;
}

/// Whatever clients hold, the server ends, and with it each of its tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_close_leaves_no_task_of_open_connections() {
    let (bus, server) = ground(patient(8)).await;
    let address = server.address();
    let mut held = vec![said(address, "").await, said(address, BEGINS).await];
    let mut idle = said(address, "").await;
    asked_again(&mut idle).await;
    held.push(idle);
    end(bus, server).await;
    no_more_tasks_than(0).await;
    for stream in &mut held {
        until_closed(stream).await;
    }
}

#[tokio::test]
async fn o3_limits_of_the_server_are_checked() {
    let bus = EventBus::connect(Config::default()).await.unwrap();
    let listen = free().limits(limits(0, FOREVER, FOREVER));
    let error = serve(router(&bus), listen).await.unwrap_err();
    assert!(matches!(error, HttpError::Limit { name: "connections", .. }), "{error}");
    bus.shutdown(Duration::ZERO).await.unwrap();
}
