//! Probes whether a broker answers, with the smallest request of its protocol, and finds free
//! ports. Not a client: it reads only enough of an answer to recognise it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xtask_base::process::Result;

const PATIENCE: Duration = Duration::from_secs(5);
const CORRELATION: [u8; 4] = [0, 0, 0, 7];

/// A Kafka that handles requests answers this one on a plain listener before anything else, without
/// a login.
pub(super) fn kafka(address: &str) -> bool {
    // ApiVersions in version 0.
    ask_kafka::<8>(address, [18, 0], &[]).is_some()
}

/// The kinds of coordinators, by their numbers in the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coordinator {
    Group = 0,
    Transaction = 1,
}

/// Whether Kafka has a coordinator. The request makes Kafka create the internal topic behind it,
/// for which a first client would otherwise wait seconds, and which needs every node of a small
/// cluster.
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

/// Below the range of outgoing connections, one of which could take the port of a node that
/// restarts.
const FIRST: u16 = 15_000;
const LAST: u16 = 32_000;

/// Different ports that were free a moment ago: all stay bound until the last is found, so that
/// none comes twice. A port may be taken afterwards; callers then retry with others.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = (now.subsec_nanos() / 64) % u32::from(LAST - FIRST);
    let ports = (0..u32::from(LAST - FIRST)).map(|n| (first + n) % u32::from(LAST - FIRST));
    let ports = ports.filter_map(|n| u16::try_from(n).ok().map(|n| FIRST + n));
    // Each stays bound until all are found.
    let free =
        ports.filter_map(|port| Some((TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?, port)));
    let found: Vec<_> = free.take(count).collect();
    if found.len() < count {
        return Err(format!("no {count} free ports on 127.0.0.1 from {FIRST} to {LAST}").into());
    }
    Ok(found.into_iter().map(|(_, port)| port).collect())
}

/// Whether a server accepts connections on this port of the loopback address.
pub(super) fn is_open(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::{free_ports, is_open};

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

    #[test]
    fn ports_differ_and_are_open_only_while_someone_listens() {
        let mut ports = free_ports(20).expect("twenty ports");
        let listener = std::net::TcpListener::bind(("127.0.0.1", ports[0])).expect("free");
        assert!(is_open(ports[0]));
        drop(listener);
        assert!(!is_open(ports[0]));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
