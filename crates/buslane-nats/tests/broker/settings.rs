//! Settings as the server sees them: on new streams, in requests for messages, and on the
//! connection.

use super::kit;
use async_nats::jetstream::stream::{Config as ServerStream, StorageType};
use buslane_core::Topic;
use buslane_nats::{NatsConfig, Partitions, Storage, StreamConfig};
use buslane_testkit::{
    broker_suite::publish,
    deadline::{until, within},
    server::{self, unique},
};
use futures_util::StreamExt;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// The stream that the first record creates.
async fn created(config: NatsConfig) -> (Topic, ServerStream) {
    let (member, topic) = (kit::connect(config).await, kit::name("missing"));
    publish(&member.broker, &topic, kit::numbers(0..1)).await;
    member.close().await;
    let stream = kit::bare().await.get_stream(topic.as_str()).await.expect("a stream");
    (topic, stream.cached_info().config.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_missing_stream_gets_the_configured_settings() {
    let stream = StreamConfig {
        partitions: Partitions::Exactly(3),
        replication: Some(1),
        retention: Some(Duration::from_hours(5)),
        retention_bytes: Some(7_000_000),
        storage: Some(Storage::File),
        ..StreamConfig::default()
    };
    let mut config = NatsConfig { stream, ..kit::config("g") };
    config.publisher.duplicate_window = Duration::from_secs(33);
    let (topic, found) = created(config).await;
    assert_eq!((found.max_age, found.max_bytes), (Duration::from_hours(5), 7_000_000));
    // Regular messages without configured storage are kept in memory.
    assert_eq!((found.num_replicas, found.storage), (1, StorageType::File));
    assert_eq!(found.duplicate_window, Duration::from_secs(33));
    let partitions = found.subjects.iter().filter(|subject| subject.contains(topic.as_str()));
    let (_, shared) = created(kit::config("g")).await;
    assert!(partitions.count() >= 3 && shared.subjects.len() == 1, "{found:?}, {shared:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_requests_for_messages_are_those_of_the_settings() {
    let topic = kit::name("orders");
    let client =
        async_nats::connect(server::address("NATS_URL")).await.expect("a server that answers");
    let requests = format!("$JS.API.CONSUMER.MSG.NEXT.{topic}.>");
    let mut requests = client.subscribe(requests).await.expect("a subscription");
    client.flush().await.expect("an answer");
    let mut config = kit::config(&unique("g"));
    config.consumer.prefetch = 77;
    config.consumer.expires = Duration::from_secs(21);
    config.consumer.heartbeat = Duration::from_secs(3);
    let member = kit::member(config, &topic).await;
    let expected = serde_json::json!({
        "batch": 77, "expires": 21_000_000_000_u64, "idle_heartbeat": 3_000_000_000_u64,
    });
    let wanted = async {
        while let Some(request) = requests.next().await {
            let found: serde_json::Value = serde_json::from_slice(&request.payload).expect("JSON");
            // A request that does not wait for messages names no times.
            if found.get("no_wait").is_none() {
                return found;
            }
        }
        panic!("the subscription has ended")
    };
    assert_eq!(within(kit::PATIENCE, "a request that waits", wanted).await, expected);
    member.close().await;
}

/// The page of the server's connections.
fn connections() -> String {
    let address = server::address("NATS_MONITOR_URL").replace("http://", "");
    let mut page = TcpStream::connect(address).expect("a server that listens");
    page.write_all(b"GET /connz?limit=10000 HTTP/1.0\r\n\r\n").expect("sent");
    let mut text = String::new();
    page.read_to_string(&mut text).expect("a page");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_the_server_names_the_client() {
    let client_name = unique("billing");
    let config = NatsConfig { client_name: client_name.clone(), ..kit::config("g") };
    let member = kit::connect(config).await;
    let page = tokio::task::spawn_blocking(connections).await.expect("no panic");
    assert!(page.contains(&format!("\"name\": \"{client_name}\"")), "{page}");
    member.close().await;
}

/// Stands between one client and the server, and counts the client's checks of the connection.
/// The threads end with the connection.
fn counting_pings(count: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = TcpStream::connect(kit::servers()).expect("a server that listens");
        let (mut answers, mut back) =
            (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
        thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let mut part = [0; 4_096];
        while let Ok(bytes @ 1..) = client.read(&mut part) {
            let part = &part[..bytes];
            count.fetch_add(part.windows(6).filter(|text| text == b"PING\r\n").count(), Relaxed);
            server.write_all(part).expect("sent");
        }
    });
    address
}

/// The default of 20 s would take these checks beyond the deadline of the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_the_connection_is_checked_at_the_configured_interval() {
    let pings = Arc::<AtomicUsize>::default();
    let config = NatsConfig {
        servers: counting_pings(Arc::clone(&pings)),
        // A server that is starved for three of them loses the connection, and the default is a
        // minute.
        ping_interval: Duration::from_secs(1),
        ..kit::config("g")
    };
    let member = kit::connect(config).await;
    until("five checks of the connection", || pings.load(Relaxed) >= 5).await;
    member.close().await;
}
