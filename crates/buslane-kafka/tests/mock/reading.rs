//! What a member says of messages that it cannot read.

use crate::{Mock, cluster::Cluster};
use buslane_core::{Broker, Progress, Topic};
use buslane_testkit::{
    broker_suite::{BrokerFixture, BrokerHarness, publish, record, settle},
    deadline::{LIMIT, within},
};
use std::{sync::Arc, time::Duration};

/// More than a member makes within the test.
const MANY: usize = 10_000;

/// An answer with an error leaves an event in the partition's queue, which librdkafka counts as a
/// message that was read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_a_failed_fetch_is_no_message() {
    let fixture = Mock(Cluster::new());
    let can = fixture.capabilities();
    let harness = BrokerHarness { fixture, can };
    let topic = harness.topic("orders");
    let mut feed = harness.reader("group", &topic).await;
    feed.until_assigned(Cluster::PARTITIONS).await;
    publish(&feed.broker, &topic, vec![record("k", "1")]).await;
    settle(feed.take(1).await);
    until_open(&feed.broker, &topic, 0).await;

    harness.fixture.0.refuse_fetches(MANY);
    publish(&feed.broker, &topic, vec![record("k", "2")]).await;
    let read = feed.take_for(Duration::from_secs(3)).await;
    assert!(read.is_empty(), "requests for messages fail");
    until_open(&feed.broker, &topic, 1).await;

    harness.fixture.0.accept_fetches();
    settle(feed.take(1).await);
    until_open(&feed.broker, &topic, 0).await;
}

/// Waits until the group has this number of unsettled messages.
async fn until_open(broker: &Arc<dyn Broker>, topic: &Topic, count: u64) {
    let topics = [topic.clone()];
    within(LIMIT, "the progress", async {
        loop {
            let progress = broker.progress(&topics).await.expect("a cluster that answers");
            let open = progress.iter().map(|Progress { end, settled, .. }| end - settled);
            if open.sum::<u64>() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
