//! Whether a broker answers, asked in its own protocol with the smallest question there is. Not a client: it reads no answer
//! further than to know it for one.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const CORRELATION: [u8; 4] = [0, 0, 0, 7];

/// A Kafka that handles requests answers this one on a plain listener before anything else, without a login.
pub(super) fn kafka(address: &str) -> bool {
    // ApiVersions (18) in version 0, no client id.
    let mut question = vec![0, 0, 0, 10, 0, 18, 0, 0];
    question.extend(CORRELATION);
    question.extend([0xff, 0xff]);
    let ask = || {
        let mut stream = connect(address)?;
        stream.write_all(&question).ok()?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).ok()?;
        Some(answer[4..] == CORRELATION)
    };
    ask().unwrap_or(false)
}

/// A NATS server speaks first.
pub(super) fn nats(address: &str) -> bool {
    let ask = || {
        let mut greeting = [0; 5];
        connect(address)?.read_exact(&mut greeting).ok()?;
        Some(&greeting == b"INFO ")
    };
    ask().unwrap_or(false)
}

/// The monitoring port says when JetStream is ready too.
pub(super) fn nats_health(address: &str) -> bool {
    let ask = || {
        let mut stream = connect(address)?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).lines().next().is_some_and(|line| line.contains(" 200 ")))
    };
    ask().unwrap_or(false)
}

/// A connection to the first address of `host:port` that accepts one.
pub(super) fn connect(address: &str) -> Option<TcpStream> {
    let mut addresses = address.to_socket_addrs().ok()?;
    let stream = addresses.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that reads `read` bytes of one connection, then writes `answer`.
    fn server(read: usize, answer: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut question = vec![0; read];
            stream.read_exact(&mut question).expect("the question");
            stream.write_all(answer).expect("sent");
            question
        });
        (address, thread)
    }

    #[test]
    fn an_answer_is_told_from_another_servers() {
        let (address, thread) = server(14, &[0, 0, 0, 99, 0, 0, 0, 7]);
        assert!(super::kafka(&address));
        assert_eq!(thread.join().expect("asked"), [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]);
        for (answer, expected) in [(&b"INFO {}"[..], true), (b"HTTP/1.1 400", false), (b"", false)] {
            let (address, thread) = server(0, answer);
            assert_eq!(super::nats(&address), expected);
            thread.join().expect("asked");
        }
        let (address, thread) = server(0, b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(!super::nats_health(&address));
        thread.join().expect("asked");
    }
}
