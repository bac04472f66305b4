//! The polling thread stands still for longer than `max_poll_interval`: the group takes the member
//! for stuck, and it must come back by itself.

use buslane_core::{Broker, Topic};
use buslane_kafka::{Assignment, ConsumerConfig, KafkaBroker, KafkaConfig};
use buslane_testkit::{
    broker_suite::{Feed, bodies, publish, record, settle},
    deadline::LIMIT,
    server,
};
use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Arc, Mutex, Once},
    time::Duration,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const POLL: Duration = Duration::from_secs(3);
/// Each test settles one of these numbers of messages above an open one. No other test uses them.
const SETTLED: [u64; 2] = [137, 139];

/// Stops the polling thread, which logs the number of messages that have no room in a commit. Each
/// number stops it once. The polling thread calls nothing else of a test.
struct StandsStill;

static STOPPED: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

impl Visit for StandsStill {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_u64(&mut self, field: &Field, value: u64) {
        let counts = field.name() == "messages" && SETTLED.contains(&value);
        if counts && STOPPED.lock().expect("no test panics").insert(value) {
            std::thread::sleep(POLL * 3);
        }
    }
}

impl Subscriber for StandsStill {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.fields().field("messages").is_some()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Self);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

async fn comes_back(assignment: Assignment, settled: u64) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(StandsStill).expect("the only one");
    });
    let topic = Topic::new(&server::unique("orders")).expect("a good name");
    let config = KafkaConfig {
        brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"),
        group: server::unique("g"),
        consumer: ConsumerConfig {
            assignment,
            session_timeout: POLL,
            heartbeat_interval: Duration::from_millis(500),
            max_poll_interval: POLL,
            drain_deadline: Duration::from_secs(1),
            metadata_limit: 0,
            ..ConsumerConfig::default()
        },
        create_missing: Some(buslane_kafka::TopicConfig {
            partitions: Some(1),
            ..Default::default()
        }),
        connect_timeout: LIMIT,
        request_timeout: LIMIT,
        ..KafkaConfig::default()
    };
    let broker: Arc<dyn Broker> =
        Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"));
    let mut feed = Feed::new(broker, LIMIT);
    feed.subscribe(&topic).await;
    feed.until_assigned(1).await;
    let records = (0..=settled).map(|n| record("k", n.to_string())).collect();
    publish(&feed.broker, &topic, records).await;
    let mut read = feed.take(usize::try_from(settled).expect("few") + 1).await;
    let first = read.remove(0);
    settle(read);
    feed.until("the end of the partition", |feed| !feed.ended.is_empty()).await;
    assert!(STOPPED.lock().expect("no test panics").contains(&settled), "it stood still");
    settle([first]);
    publish(&feed.broker, &topic, vec![record("k", "after")]).await;
    // The settlements of the lost partition may have come too late.
    let mut found = BTreeSet::new();
    while !found.contains("after") {
        let again = feed.take(1).await;
        found.extend(bodies(&again));
        settle(again);
    }
    feed.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_a_member_of_the_brokers_protocol_comes_back_after_an_overrun() {
    comes_back(Assignment::Broker, SETTLED[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_a_member_comes_back_after_an_overrun() {
    comes_back(Assignment::CooperativeSticky, SETTLED[1]).await;
}
