//! A process out of file descriptors: clients that hold them keep no probe out. The limit is that
//! of the whole process.
#![cfg(all(feature = "http", unix))]

use super::is_alone;
use buslane::{
    Config, EventBus,
    http::{Listen, ServerLimits, router, serve},
};
use buslane_testkit::deadline::until;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{fs::File, os::fd::AsRawFd, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Handle,
    time::timeout,
};

const HELD: usize = 40;

#[tokio::test]
async fn o3_a_probe_is_answered_when_clients_hold_every_descriptor() {
    if !is_alone("http_descriptors::o3_a_probe_is_answered_when_clients_hold_every_descriptor") {
        return;
    }
    let bus = EventBus::connect(Config::default()).await.unwrap();
    let forever = Duration::from_secs(3_600);
    let mut limits = ServerLimits::default();
    limits.connections = 1_000;
    (limits.idle_timeout, limits.request_timeout) = (forever, forever);
    let address = "127.0.0.1:0".parse().unwrap();
    let server = serve(router(&bus), Listen::on(address).limits(limits)).await.unwrap();
    let before = Handle::current().metrics().num_alive_tasks();
    let mut held = Vec::new();
    for _ in 0..HELD {
        held.push(TcpStream::connect(server.address()).await.unwrap());
    }
    until("all are accepted", || Handle::current().metrics().num_alive_tasks() == before + HELD)
        .await;

    let probes: Vec<_> = (0..5).map(|_| TcpSocket::new_v4().unwrap()).collect();
    let lowest_free = File::open("/").unwrap().as_raw_fd();
    let was = getrlimit(Resource::Nofile);
    let none_left = Rlimit { current: Some(u64::try_from(lowest_free).unwrap()), ..was };
    setrlimit(Resource::Nofile, none_left).unwrap();
    assert!(File::open("/").is_err(), "no descriptor is left");
    for probe in probes {
        let ask = async {
            let mut probe = probe.connect(server.address()).await.unwrap();
            probe.write_all(b"GET /livez HTTP/1.1\r\nHost: bus\r\n\r\n").await.unwrap();
            let mut answer = [0; 15];
            probe.read_exact(&mut answer).await.unwrap();
            // It is kept open: the next one finds no descriptor again.
            (probe, answer)
        };
        let (probe, answer) =
            timeout(Duration::from_secs(60), ask).await.expect("a probe is answered");
        assert_eq!(answer, *b"HTTP/1.1 200 OK");
        held.push(probe);
    }
    setrlimit(Resource::Nofile, was).unwrap();
    bus.shutdown(Duration::ZERO).await.unwrap();
    server.close().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}
