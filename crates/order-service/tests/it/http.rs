//! What the program shows over HTTP while it runs. SPEC: O3

use super::program::{Program, file};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

/// Code and body of an answer.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code"), body.to_owned())
}

#[test]
fn o3_health_and_metrics_are_shown_while_it_runs() {
    let arguments =
        ["--in-flight", "1", "--handler-ms", "5", "--poison", "0", "--http", "127.0.0.1:0"];
    let running = Program::new("http", &arguments).start();
    running.until_it_says("http://");
    let said = std::fs::read_to_string(file("http.err")).unwrap();
    let address = said
        .split_once("http://")
        .and_then(|(_, rest)| rest.split_once(": /livez"))
        .expect("an address")
        .0;
    let deadline = Instant::now() + buslane_testkit::deadline::LIMIT;
    while get(address, "/readyz").0 != 200 {
        assert!(Instant::now() < deadline, "{:?}", get(address, "/readyz"));
    }
    for path in ["/livez", "/startupz", "/status"] {
        let (code, body) = get(address, path);
        assert!(code == 200 && body.starts_with('{'), "{path}: {code} {body}");
    }
    let (code, page) = get(address, "/metrics");
    assert_eq!(code, 200);
    for name in [
        "memory_eventbus_messages_consumed_total",
        "memory_eventbus_health_fault{fault=\"blocked_key\"} 0",
    ] {
        assert!(page.contains(name), "{name}: {page}");
    }
    assert_eq!((get(address, "/nothing").0, get(address, "/").0), (404, 404));
    running.interrupt();
    let run = running.wait();
    assert_eq!(run.code, Some(0), "{run}");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
