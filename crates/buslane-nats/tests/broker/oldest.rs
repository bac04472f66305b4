//! The oldest supported server, Debian 12's: everything that it can do works, and a setting that it
//! would ignore is refused by name.

use super::kit;
use buslane_core::{Broker, BrokerError, Topic, TopicSettings, TopicStrategy};
use buslane_nats::{ConsumerConfig, NatsBroker, NatsConfig, Partitions, Start};
use buslane_testkit::{
    broker_suite::{Feed, bodies, publish, settle},
    server::OwnServer,
};
use std::{sync::Arc, time::Duration};

const VERSION: &str = "2.9.10";

async fn server() -> (OwnServer, NatsConfig) {
    let server =
        tokio::task::spawn_blocking(|| OwnServer::nats_of(VERSION)).await.expect("a server");
    let config = NatsConfig { servers: server.address.replace("nats://", ""), ..kit::config("g") };
    (server, config)
}

fn topic() -> Topic {
    Topic::new("orders").expect("a name")
}

/// A restart continues where the last member stopped, also with messages in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n4_the_oldest_server_keeps_its_promises() {
    let (_server, mut config) = server().await;
    // So long that a test that waited for it would fail.
    config.consumer.ack_wait = Duration::from_secs(3_600);
    let mut next = 0;
    for round in 0..10 {
        let mut feed = kit::member(config.clone(), &topic()).await;
        publish(&feed.broker, &topic(), kit::numbers(round * 10..round * 10 + 10)).await;
        let got = feed.take(7).await;
        assert_eq!(bodies(&got), kit::texts(next..next + 7), "round {round}");
        next += 7;
        settle(got);
        drop(feed.take(1).await);
        feed.close().await;
    }
}

/// A server up to 2.10.13 that takes up a returned message, while the only waiting requests are
/// those of a reader that is gone, forgets the message until `ack_wait` is over, and delivers a
/// settled one again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n4_what_goes_back_does_not_turn_the_oldest_server_back() {
    let (server, config) = server().await;
    let client = async_nats::connect(server.address.clone()).await.expect("a server that answers");
    for round in 1..=10 {
        let mut feed = kit::member(config.clone(), &topic()).await;
        publish(&feed.broker, &topic(), kit::numbers(0..10)).await;
        let mut got = feed.take(if round == 1 { 10 } else { 13 }).await;
        let back = got.split_off(got.len() - 3);
        settle(got);
        drop(back);
        feed.close().await;
        let stream = async_nats::jetstream::new(client.clone())
            .get_stream_no_info("orders")
            .await
            .expect("a handle");
        let info = stream.consumer_info("g@orders").await.expect("a consumer");
        assert_eq!(info.delivered.stream_sequence, round * 10, "{info:?}");
        assert_eq!(
            (info.ack_floor.stream_sequence, info.num_ack_pending),
            (round * 10 - 3, 3),
            "{info:?}"
        );
    }
}

/// The server's consumer shows every setting, so none is ignored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_the_oldest_server_shows_every_setting() {
    let (server, config) = server().await;
    let consumer = ConsumerConfig {
        start: Start::Latest,
        max_deliver: Some(9),
        backoff: vec![Duration::from_secs(1), Duration::from_secs(3)],
        max_ack_pending: 321,
        replicas: Some(1),
        memory_storage: true,
        ..config.consumer.clone()
    };
    let feed = kit::member(NatsConfig { consumer, ..config }, &topic()).await;
    let client = async_nats::connect(server.address.clone()).await.expect("a server that answers");
    let stream =
        async_nats::jetstream::new(client).get_stream_no_info("orders").await.expect("a handle");
    let found = stream.consumer_info("g@orders").await.expect("a consumer").config;
    assert_eq!((found.max_deliver, found.max_ack_pending, found.num_replicas), (9, 321, 1));
    assert_eq!((found.backoff.len(), found.memory_storage), (2, true));
    feed.close().await;
}

/// Leases need a newer server: members share a topic by default too, and a warning says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_the_oldest_server_has_topics_shared() {
    let (_server, mut config) = server().await;
    config.stream.partitions = Partitions::Auto;
    let mut members =
        [kit::member(config.clone(), &topic()).await, kit::member(config, &topic()).await];
    publish(&members[0].broker, &topic(), kit::numbers(0..10)).await;
    for member in &mut members {
        member.until_assigned(1).await;
    }
    for mut member in members {
        settle(member.take_for(Duration::from_millis(100)).await);
        member.close().await;
    }
}

/// Partitions need filters that this server would ignore.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_the_oldest_server_is_asked_for_nothing_that_it_ignores() {
    let (_server, config) = server().await;
    let four = TopicSettings { partitions: Some(4), ..TopicSettings::default() };
    let config = NatsConfig { stream: Partitions::Exactly(4).into(), ..config };
    let broker: Arc<dyn Broker> = Arc::new(NatsBroker::connect(config).await.expect("it is taken"));
    let asked = broker.configure_topic(&topic(), &four, TopicStrategy::CreateOnly).await.map(drop);
    let subscribed = broker.subscribe(&[(topic(), Default::default())]).await;
    for refused in [asked, subscribed] {
        let Err(BrokerError::Setting { setting: "partitions", rule, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert!(rule.contains("2.10.0") && rule.contains(VERSION), "{rule}");
    }
    Feed::new(broker, kit::PATIENCE).close().await;
}
