//! A publisher that writes the protocol directly, because no client library sends these headers.

use buslane_testkit::server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect() -> Self {
        Self::connect_to(&server::address("NATS_URL"), "").await
    }

    /// Connects to the server of one test. `login` adds fields to the `CONNECT` line.
    pub(crate) async fn connect_to(address: &str, login: &str) -> Self {
        let address = address.replace("nats://", "");
        let mut stream = TcpStream::connect(address).await.expect("a server that listens");
        let connect = format!("CONNECT {{{login}\"headers\":true,\"verbose\":false}}\r\n");
        stream.write_all(connect.as_bytes()).await.expect("written");
        Self(stream)
    }

    /// Publishes a message with this block of headers, byte by byte, and waits until the server has
    /// read it.
    pub(crate) async fn publish(&mut self, subject: &str, block: &[u8], body: &[u8]) {
        let head = format!("HPUB {subject} {} {}\r\n", block.len(), block.len() + body.len());
        let message = [head.as_bytes(), block, body, b"\r\nPING\r\n"].concat();
        self.0.write_all(&message).await.expect("written");
        let mut heard = Vec::new();
        while !heard.windows(6).any(|word| word == b"PONG\r\n") {
            assert!(
                self.0.read_buf(&mut heard).await.expect("readable") > 0,
                "the server has hung up"
            );
        }
        assert!(
            !heard.windows(4).any(|word| word == b"-ERR"),
            "{}",
            String::from_utf8_lossy(&heard)
        );
    }
}

/// Blocks that the client library cannot read, each with the name of its defect.
pub(crate) const BROKEN: [(&str, &[u8]); 8] = [
    ("a return in a value", b"NATS/1.0\r\nX-Trace-ID: a\rb\r\n\r\n"),
    ("a value that is not UTF-8", b"NATS/1.0\r\nX-Tenant: M\xfcller\r\n\r\n"),
    ("a line without a colon", b"NATS/1.0\r\nno colon here\r\n\r\n"),
    ("a name with a space", b"NATS/1.0\r\nX Tenant: a\r\n\r\n"),
    ("a name that is not ASCII", "NATS/1.0\r\nX-T\u{e9}nant: a\r\n\r\n".as_bytes()),
    ("a name that is not UTF-8", b"NATS/1.0\r\nX-T\xe9nant: a\r\n\r\n"),
    ("no version", b"X-Tenant: a\r\n\r\n"),
    ("another version", b"NATS/9.9\r\nX-Tenant: a\r\n\r\n"),
];

/// Unusual blocks that the client library can read, because a stream stores no status.
pub(crate) const ODD: [(&str, &[u8]); 4] = [
    ("an empty name", b"NATS/1.0\r\n: a\r\n\r\n"),
    ("a status that is no number", b"NATS/1.0 zz\r\nX-Tenant: a\r\n\r\n"),
    ("the status of a heartbeat", b"NATS/1.0 100 Idle Heartbeat\r\nX-Tenant: a\r\n\r\n"),
    ("the status of a request that has ended", b"NATS/1.0 404 No Messages\r\nX-Tenant: a\r\n\r\n"),
];
