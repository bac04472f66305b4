//! Asks in plain text over a socket.

use buslane::{
    Config, EventBus,
    http::{Listen, Server, router_with_metrics, serve},
};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    say(address, &format!("{method} {path} HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n\r\n"))
        .await
}

/// Says exactly this.
pub(crate) async fn say(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { code, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) fn watchful() -> Config {
    let mut config = Config::default();
    config.health.check_interval = Duration::from_millis(10);
    config
}

pub(crate) fn free() -> Listen {
    Listen::on("127.0.0.1:0".parse().unwrap())
}

pub(crate) async fn served(bus: &EventBus) -> Server {
    serve(router_with_metrics(bus, || "a_metric 1\n".to_owned()), free()).await.unwrap()
}

pub(crate) async fn until_ready(address: SocketAddr) {
    let ready = async { while ask(address, "GET", "/readyz").await.code != 200 {} };
    tokio::time::timeout(buslane_testkit::deadline::LIMIT, ready).await.unwrap();
}
