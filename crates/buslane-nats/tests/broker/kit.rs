//! Helpers of the tests on a real server: members, topics and a foreign client.

use buslane_core::{Broker, Record, Topic};
use buslane_nats::{ConsumerConfig, NatsBroker, NatsConfig, Partitions};
use buslane_testkit::{
    broker_suite::{Feed, record},
    deadline::SILENCE,
    server,
};
use std::{ops::Range, sync::Arc, time::Duration};

pub(crate) const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

/// `host:port` of the tests' server.
pub(crate) fn servers() -> String {
    server::address("NATS_URL").replace("nats://", "")
}

/// The configuration of a member of `group` that notices a missing member soon. Topics have no
/// partitions, so that each has one consumer to look at; the suites have partitions.
pub(crate) fn config(group: &str) -> NatsConfig {
    NatsConfig {
        servers: servers(),
        group: group.to_owned(),
        connect_timeout: PATIENCE,
        request_timeout: SILENCE,
        consumer: ConsumerConfig { ack_wait: Duration::from_secs(1), ..ConsumerConfig::default() },
        stream: Partitions::Shared.into(),
        ..NatsConfig::default()
    }
}

pub(crate) async fn connect(config: NatsConfig) -> Feed {
    let broker: Arc<dyn Broker> =
        Arc::new(NatsBroker::connect(config).await.expect("a server that answers"));
    Feed::new(broker, PATIENCE)
}

/// A member that reads `topic`.
pub(crate) async fn member(config: NatsConfig, topic: &Topic) -> Feed {
    let feed = connect(config).await;
    feed.subscribe(topic).await;
    feed
}

pub(crate) fn name(what: &str) -> Topic {
    Topic::new(&server::unique(what)).expect("a good name")
}

/// A bare client, which sees the server without the bus.
pub(crate) async fn bare() -> async_nats::jetstream::Context {
    let client =
        async_nats::connect(server::address("NATS_URL")).await.expect("a server that answers");
    async_nats::jetstream::new(client)
}

/// Records with their number as body.
pub(crate) fn numbers(range: Range<usize>) -> Vec<Record> {
    range.map(|n| record(&format!("k{}", n % 7), n.to_string())).collect()
}

/// The numbers as bodies.
pub(crate) fn texts(range: Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
