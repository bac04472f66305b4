//! Free ports of the loopback address. A port is free when it is asked for, not for ever: whoever starts a server on it is ready
//! to begin again with others.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::process::Result;

/// Different ports, all free a moment ago: they are held together, so that none is given twice.
pub(super) fn free(count: usize) -> Result<Vec<u16>> {
    let listeners =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<std::io::Result<Vec<_>>>();
    let listeners = listeners.map_err(|error| format!("no free port on 127.0.0.1: {error}"))?;
    Ok(listeners.iter().map(|listener| listener.local_addr().map(|a| a.port())).collect::<std::io::Result<_>>()?)
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
