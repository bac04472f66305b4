//! Free ports of the loopback address. A port is free when it is asked for, not for ever: whoever
//! starts a server on it is ready to begin again with others.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xtask_base::process::Result;

/// Below what systems give to outgoing connections: one of those would keep a node from its port
/// that is started again.
const FIRST: u16 = 15_000;
const LAST: u16 = 32_000;

/// Different ports, all free a moment ago: they are held together, so that none is given twice.
pub fn free(count: usize) -> Result<Vec<u16>> {
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
    use super::{free, is_open};

    #[test]
    fn ports_differ_and_are_open_only_while_someone_listens() {
        let mut ports = free(20).expect("twenty ports");
        let listener = std::net::TcpListener::bind(("127.0.0.1", ports[0])).expect("free");
        assert!(is_open(ports[0]));
        drop(listener);
        assert!(!is_open(ports[0]));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
