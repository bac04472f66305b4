//! The smallest HTTP client that can ask a Prometheus or an order service on this machine. No TLS,
//! no redirects, no chunks: HTTP/1.0.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::process::Result;

const PATIENCE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(2);

/// The body of what a server on this port of the loopback address answers; an error unless it is a
/// 200.
pub fn get(port: u16, path: &str) -> Result<String> {
    ask(
        (Ipv4Addr::LOCALHOST, port).into(),
        PATIENCE,
        &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"),
    )
}

/// As [`get`], with a shorter timeout and from any address.
pub fn get_soon(address: SocketAddr, path: &str) -> Result<String> {
    ask(address, SOON, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

/// Sends JSON with a bearer token and a short timeout.
pub fn put(address: SocketAddr, path: &str, token: &str, body: &str) -> Result<String> {
    let length = body.len();
    let request = format!(
        "PUT {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nX-Operator: soak\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    ask(address, SOON, &request)
}

fn ask(address: SocketAddr, patience: Duration, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let asked = request.lines().next().unwrap_or_default();
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => {
            Err(format!("{asked}: {}: {}", head.lines().next().unwrap_or_default(), body.trim())
                .into())
        }
    }
}

/// A text as a value in a query of a URL.
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn everything_but_letters_and_digits_is_escaped() {
        assert_eq!(escaped("rate(a_b{c=\"d\"}[5m])"), "rate%28a%5Fb%7Bc%3D%22d%22%7D%5B5m%5D%29");
        assert_eq!(escaped("é"), "%C3%A9");
    }
}
