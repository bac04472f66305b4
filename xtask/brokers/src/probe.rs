//! Whether a broker answers, asked in its own protocol with the smallest question there is. Not a
//! client: it reads no answer further than to know it for one.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const CORRELATION: [u8; 4] = [0, 0, 0, 7];

/// A Kafka that handles requests answers this one on a plain listener before anything else, without
/// a login.
pub(super) fn kafka(address: &str) -> bool {
    // ApiVersions in version 0.
    ask_kafka::<8>(address, [18, 0], &[]).is_some()
}

/// What a coordinator keeps account of, by the number that the protocol gives it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coordinator {
    Group = 0,
    Transaction = 1,
}

/// Whether Kafka has a coordinator. To be asked makes it create the internal topic behind it, which
/// a first client would otherwise wait seconds for, and which needs every node of a small cluster.
pub(super) fn kafka_coordinator(address: &str, kind: Coordinator) -> bool {
    // FindCoordinator in version 1, for the key `a`; after the delay comes the error code.
    let answer: Option<[u8; 14]> = ask_kafka(address, [10, 1], &[0, 1, b'a', kind as u8]);
    answer.is_some_and(|answer| answer[12..] == [0, 0])
}

/// The first bytes of the answer to a request: its length, the correlation id, and what `N` leaves
/// room for.
fn ask_kafka<const N: usize>(
    address: &str,
    [api, version]: [u8; 2],
    body: &[u8],
) -> Option<[u8; N]> {
    let mut question = vec![0, api, 0, version];
    question.extend(CORRELATION);
    // No client id.
    question.extend([0xff, 0xff]);
    question.extend(body);
    let mut stream = connect(address)?;
    stream.write_all(&u32::try_from(question.len()).ok()?.to_be_bytes()).ok()?;
    stream.write_all(&question).ok()?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer).ok()?;
    (answer[4..8] == CORRELATION).then_some(answer)
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
        Some(
            String::from_utf8_lossy(&answer)
                .lines()
                .next()
                .is_some_and(|line| line.contains(" 200 ")),
        )
    };
    ask().unwrap_or(false)
}

/// A connection to the first address of `host:port` that accepts one.
pub(super) fn connect(address: &str) -> Option<TcpStream> {
    let mut addresses = address.to_socket_addrs().ok()?;
    let stream =
        addresses.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())?;
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
        assert_eq!(
            thread.join().expect("asked"),
            [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]
        );
        for (error, expected) in [(0, true), (15, false)] {
            let answer = vec![0, 0, 0, 99, 0, 0, 0, 7, 0, 0, 0, 0, 0, error];
            let (address, thread) = server(18, answer.leak());
            assert_eq!(
                super::kafka_coordinator(&address, super::Coordinator::Transaction),
                expected
            );
            let question = thread.join().expect("asked");
            assert_eq!(question, [0, 0, 0, 14, 0, 10, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 1, b'a', 1]);
        }
        for (answer, expected) in [(&b"INFO {}"[..], true), (b"HTTP/1.1 400", false), (b"", false)]
        {
            let (address, thread) = server(0, answer);
            assert_eq!(super::nats(&address), expected);
            thread.join().expect("asked");
        }
        let (address, thread) = server(0, b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(!super::nats_health(&address));
        thread.join().expect("asked");
    }
}
