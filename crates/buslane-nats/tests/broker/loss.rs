//! The server fails and returns while a member reads and another publishes.

use super::kit;
use buslane_core::{Broker, SubscribeOptions};
use buslane_nats::{NatsBroker, NatsConfig, Partitions, PublisherConfig};
use buslane_testkit::{
    broker_suite::{Feed, publish, settle},
    loss::{Again, Loss},
    server::{OwnServer, unique},
};
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;
const LEASE: Duration = Duration::from_secs(2);

fn config(server: &OwnServer, partitions: Partitions) -> NatsConfig {
    let mut config = kit::config(&unique("g"));
    config.consumer.lease = LEASE;
    NatsConfig {
        servers: server.address.replace("nats://", ""),
        // The client notices a paused server after two of these.
        ping_interval: Duration::from_millis(500),
        request_timeout: Duration::from_secs(2),
        publisher: PublisherConfig { publish_timeout: PATIENCE, ..PublisherConfig::default() },
        stream: partitions.into(),
        ..config
    }
}

async fn resumes(partitions: Partitions, lose: fn(&mut OwnServer), mend: fn(&mut OwnServer)) {
    let server = tokio::task::spawn_blocking(|| OwnServer::nats("")).await.expect("a server");
    let topic = kit::name("lossy");
    let connected = NatsBroker::connect(config(&server, partitions)).await;
    let publisher = Arc::new(connected.expect("a server that answers"));
    let member = kit::member(config(&server, partitions), &topic).await;
    let loss = Loss {
        server,
        lose,
        mend,
        publisher,
        member,
        topic,
        again: Again::Never,
        patience: PATIENCE,
    };
    loss.is_survived().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_a_server_that_stands_still_and_goes_on_loses_nothing() {
    resumes(Partitions::Shared, OwnServer::pause, OwnServer::resume).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_a_server_that_is_killed_and_started_again_loses_nothing() {
    resumes(Partitions::Shared, OwnServer::kill, OwnServer::start_again).await;
}

/// The leases expire while the server is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_partitions_come_back_with_the_server() {
    resumes(Partitions::Auto, OwnServer::kill, OwnServer::start_again).await;
}

/// The member loses its leases during the outage, and its next readers must know what it has
/// acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_an_outage_beyond_the_lease_repeats_nothing() {
    // No event says that the lease is over.
    fn start_late(server: &mut OwnServer) {
        std::thread::sleep(LEASE * 2);
        server.start_again();
    }
    resumes(Partitions::Auto, OwnServer::kill, start_late).await;
}

/// The server answers nothing for longer than a request may take, as a cluster does while it elects
/// leaders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_subscribing_waits_for_a_server_that_answers() {
    let mut server = tokio::task::spawn_blocking(|| OwnServer::nats("")).await.expect("a server");
    for partitions in [Partitions::Shared, Partitions::Auto] {
        let request_timeout = Duration::from_millis(200);
        let config = NatsConfig { request_timeout, ..config(&server, partitions) };
        let broker = Arc::new(NatsBroker::connect(config).await.expect("a server that answers"));
        let topic = kit::name("late");
        tokio::task::block_in_place(|| server.pause());
        let (asking, topics) =
            (Arc::clone(&broker), [(topic.clone(), SubscribeOptions::default())]);
        let subscribed = tokio::spawn(async move { asking.subscribe(&topics).await });
        tokio::time::sleep(request_timeout * 3).await;
        assert!(!subscribed.is_finished(), "it waits");
        tokio::task::block_in_place(|| server.resume());
        subscribed.await.expect("no panic").expect("it is subscribed in the end");
        let mut member = Feed::new(broker as Arc<dyn Broker>, PATIENCE);
        publish(&member.broker, &topic, kit::numbers(0..5)).await;
        let got = member.take(5).await;
        assert_eq!(got.len(), 5);
        settle(got);
        member.close().await;
    }
}
