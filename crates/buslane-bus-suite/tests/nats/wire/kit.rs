//! A bus on a real NATS, and the server's own figures.

use async_nats::jetstream::{self, consumer::Info};
use buslane::{Config, Envelope, EventBus, Message, Topic, config::NatsPartitions};
use buslane_testkit::{deadline::within, server, signal::Count};
use parking_lot::Mutex;
use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

pub(crate) const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;
pub(crate) const GROUP: &str = "wire";

pub(crate) fn config() -> Config {
    let mut config = Config::new(&server::address("NATS_URL")).expect("a URL");
    GROUP.clone_into(&mut config.group);
    // One consumer per topic, whose figures the tests check.
    config.nats.stream.partitions = NatsPartitions::Shared;
    config.nats.consumer.ack_wait = Duration::from_secs(1);
    config
}

pub(crate) async fn bus(config: Config) -> EventBus {
    EventBus::connect(config).await.expect("a server that answers")
}

pub(crate) fn name(what: &str) -> Topic {
    Topic::new(&server::unique(what)).expect("a good name")
}

pub(crate) async fn publish(
    bus: &EventBus,
    topic: &Topic,
    key: &str,
    numbers: std::ops::Range<usize>,
) {
    let envelopes: Vec<_> =
        numbers.map(|n| Envelope::new(key, "Counted", &n).expect("valid")).collect();
    for answer in bus.publish_envelopes(topic, &envelopes).await.expect("taken") {
        answer.expect("stored");
    }
}

/// A bare client that bypasses the bus.
pub(crate) async fn bare() -> jetstream::Context {
    let client =
        async_nats::connect(server::address("NATS_URL")).await.expect("a server that answers");
    jetstream::new(client)
}

/// The durable consumer as the server shows it.
pub(crate) async fn info(topic: &Topic) -> Info {
    let stream = bare().await.get_stream_no_info(topic.as_str()).await.expect("a handle");
    stream.consumer_info(format!("{GROUP}@{topic}")).await.expect("a consumer")
}

/// Waits until the consumer has no open and no pending message.
pub(crate) async fn all_settled(topic: &Topic) -> Info {
    let wait = async {
        loop {
            let info = info(topic).await;
            if info.num_ack_pending == 0 && info.num_pending == 0 {
                return info;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(PATIENCE, "everything settled", wait).await
}

pub(crate) type Taken = Arc<Mutex<Vec<Message>>>;

/// A handler that stores and counts its messages.
pub(crate) fn collected()
-> (Taken, Arc<Count>, impl Fn(Message) -> Ready<()> + Send + Sync + 'static) {
    let (taken, count) = (Taken::default(), Arc::new(Count::default()));
    let (into, counted) = (Arc::clone(&taken), Arc::clone(&count));
    let handler = move |message: Message| {
        into.lock().push(message);
        counted.add();
        ready(())
    };
    (taken, count, handler)
}
