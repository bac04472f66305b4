//! What publishing asks the server about streams, and that no topic waits for another one.

use super::kit;
use async_nats::{Client, Subscriber, jetstream::stream::Config as StreamConfig};
use buslane_core::{Broker, Topic};
use buslane_nats::{Login, NatsBroker, NatsConfig, PublisherConfig, Security};
use buslane_testkit::{
    broker_suite::{publish, record},
    deadline::within,
    server::{self, OwnServer, unique},
};
use futures_util::{StreamExt, future::join_all};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

/// Long enough for a publish on a busy machine, and short enough to fail a test in which one waits
/// for another.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

async fn broker(config: NatsConfig) -> Arc<dyn Broker> {
    Arc::new(NatsBroker::connect(config).await.expect("a server that answers"))
}

/// The requests to JetStream, as a bare client sees them.
struct Requests {
    client: Client,
    seen: Subscriber,
}

impl Requests {
    async fn watch() -> Self {
        let client =
            async_nats::connect(server::address("NATS_URL")).await.expect("a server that answers");
        let seen = client.subscribe("$JS.API.>").await.expect("a subscription");
        client.flush().await.expect("an answer");
        Self { client, seen }
    }

    /// The kinds of the requests about a topic since the last call.
    async fn about(&mut self, topic: &Topic) -> Vec<String> {
        let end = format!("$JS.API.{}", unique("END"));
        self.client.publish(end.clone(), "".into()).await.expect("sent");
        let mut kinds = Vec::new();
        loop {
            let next = within(kit::PATIENCE, "the request that ends the list", self.seen.next());
            let request = next.await.expect("an open subscription");
            if request.subject.as_str() == end {
                return kinds;
            }
            let text = format!("{} {}", request.subject, String::from_utf8_lossy(&request.payload));
            if text.contains(topic.as_str()) {
                let kind = request.subject.split('.').skip(2).take(2).collect::<Vec<_>>();
                kinds.push(kind.join("."));
            }
        }
    }
}

fn count(requests: &[String], kind: &str) -> usize {
    requests.iter().filter(|request| *request == kind).count()
}

/// Creating a stream twice succeeds, so the requests are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_stream_is_created_once() {
    let (mut requests, topic) = (Requests::watch().await, kit::name("orders"));
    let one = broker(kit::config("g")).await;
    let calls = (0..10).map(|n| publish(&one, &topic, vec![record("k", n.to_string())]));
    join_all(calls).await;
    assert_eq!(requests.about(&topic).await, ["STREAM.NAMES", "STREAM.NAMES", "STREAM.CREATE"]);
    one.close(kit::PATIENCE).await.expect("closes");
}

/// Each of several members creates the stream at most once, and none fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_members_create_a_stream_at_once() {
    let (mut requests, topic) = (Requests::watch().await, kit::name("orders"));
    let members = join_all((0..3).map(|_| broker(kit::config("g")))).await;
    let calls = members.iter().flat_map(|member| {
        (0..10).map(|n| publish(member, &topic, vec![record("k", n.to_string())]))
    });
    join_all(calls).await;
    let requests = requests.about(&topic).await;
    assert!((1..=3).contains(&count(&requests, "STREAM.CREATE")), "{requests:?}");
    let mut stream = kit::bare().await.get_stream(topic.as_str()).await.expect("a stream");
    assert_eq!(stream.info().await.expect("an answer").state.messages, 30);
    for member in members {
        member.close(kit::PATIENCE).await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_known_stream_costs_no_look_up() {
    let (mut requests, topic) = (Requests::watch().await, kit::name("orders"));
    let broker = broker(kit::config("g")).await;
    publish(&broker, &topic, vec![record("k", "first")]).await;
    assert!(!requests.about(&topic).await.is_empty(), "the first record needs a look-up");
    for n in 0..20 {
        publish(&broker, &topic, kit::numbers(n..n + 5)).await;
    }
    assert_eq!(requests.about(&topic).await, Vec::<String>::new());
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// The server does not answer a request that it denies, so the first publish to one topic stays in
/// its look-up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_look_up_without_an_answer_delays_no_other_topic() {
    let rights = "authorization { users: [ { user: alice, password: secret, permissions: { \
                  publish: { deny: \"$JS.API.STREAM.CREATE.stuck\" } } } ] }\n";
    let server = tokio::task::spawn_blocking(|| OwnServer::nats(rights)).await.expect("a server");
    let broker = broker(NatsConfig {
        servers: server.address.replace("nats://", ""),
        request_timeout: kit::PATIENCE,
        publisher: PublisherConfig {
            publish_timeout: PUBLISH_TIMEOUT,
            ..PublisherConfig::default()
        },
        security: Security { tls: None, login: Some(Login::user("alice", "secret")) },
        ..kit::config(&unique("g"))
    })
    .await;
    let (stuck, other) = (Topic::new("stuck").expect("a name"), kit::name("other"));
    let mut waiting = pin!(broker.publish(&stuck, vec![record("k", "1")]).get());
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    publish(&broker, &other, kit::numbers(0..10)).await;
    assert!(waiting.as_mut().poll(&mut context).is_pending());
}

/// A stream of another program that acknowledges nothing: the records to it wait, and hold no more
/// than their own room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_missing_acknowledgement_delays_no_other_publisher() {
    let silent = kit::name("silent");
    let stream = StreamConfig {
        name: silent.to_string(),
        subjects: vec![silent.to_string()],
        no_ack: true,
        ..StreamConfig::default()
    };
    kit::bare().await.create_stream(stream).await.expect("a stream");
    let broker = broker(NatsConfig {
        publisher: PublisherConfig {
            max_in_flight: 6,
            publish_timeout: kit::PATIENCE,
            ..PublisherConfig::default()
        },
        ..kit::config("g")
    })
    .await;
    let mut waiting = Box::pin(broker.publish(&silent, kit::numbers(0..5)).get());
    let mut context = Context::from_waker(Waker::noop());
    let mut stored = kit::bare().await.get_stream(silent.as_str()).await.expect("a stream");
    while stored.info().await.expect("an answer").state.messages < 5 {
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let topics: Vec<_> = (0..8).map(|_| kit::name("other")).collect();
    let others = join_all(topics.iter().map(async |topic| {
        for n in 0..10 {
            publish(&broker, topic, kit::numbers(n..n + 1)).await;
        }
    }));
    within(PUBLISH_TIMEOUT, "the other publishers", others).await;
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    // The room of a dropped call is free again, and the close waits for no acknowledgement of it.
    drop(waiting);
    publish(&broker, &topics[0], kit::numbers(0..6)).await;
    broker.close(kit::PATIENCE).await.expect("closes");
}
