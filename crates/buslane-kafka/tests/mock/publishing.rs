//! What the first publishers of a topic ask the cluster, and that no topic waits for another one.

use super::cluster::{Cluster, patient};
use buslane_testkit::{
    broker_suite::{publish, record},
    deadline::within,
};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

/// Long enough for a publish on a busy machine, and short enough to fail a test in which one waits
/// for another.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// The request that asks a leader for the ends of its partition.
const LIST_OFFSETS: i16 = 2;

/// The first record of a topic asks each of its leaders, which takes seconds without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_topic_without_leaders_delays_no_other_topic() {
    let cluster = Cluster::new();
    let (stuck, other) = (cluster.topic("stuck"), cluster.topic("other"));
    cluster.lose_leaders("stuck");
    let broker = cluster.publisher(patient()).await;
    let mut waiting = pin!(broker.publish(&stuck, vec![record("k", "1")]).get());
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let published = publish(&broker, &other, vec![record("k", "1")]);
    within(PUBLISH_TIMEOUT, "the other topic", published).await;
    assert!(waiting.as_mut().poll(&mut context).is_pending());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_missing_acknowledgement_delays_no_other_publisher() {
    let cluster = Cluster::of_brokers(2);
    let topics = [("stuck", 2), ("one", 1), ("two", 1)].map(|(name, leader)| {
        let topic = cluster.topic(name);
        cluster.lead(name, leader);
        topic
    });
    let broker = cluster.publisher(patient()).await;
    for topic in &topics {
        publish(&broker, topic, vec![record("k", "first")]).await;
    }
    cluster.silence(2);
    let mut waiting = pin!(broker.publish(&topics[0], vec![record("k", "2")]).get());
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    for n in 0..100 {
        for topic in &topics[1..] {
            let published = publish(&broker, topic, vec![record("k", n.to_string())]);
            within(PUBLISH_TIMEOUT, "the other topics", published).await;
        }
    }
    assert!(waiting.as_mut().poll(&mut context).is_pending());
}

/// Later publishers of the topic wait for the look-up of the first one, and publishing to a known
/// topic needs none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_topic_is_looked_up_once() {
    let cluster = Cluster::new();
    let topic = cluster.topic("orders");
    let broker = cluster.publisher(patient()).await;
    cluster.count_requests();
    let calls: Vec<_> = (0..10)
        .map(|n| {
            let (broker, topic) = (Arc::clone(&broker), topic.clone());
            tokio::spawn(
                async move { publish(&broker, &topic, vec![record("k", n.to_string())]).await },
            )
        })
        .collect();
    for call in calls {
        call.await.expect("published");
    }
    publish(&broker, &topic, vec![record("k", "known")]).await;
    // For the first and for the last offset of each partition.
    assert_eq!(cluster.requests(LIST_OFFSETS), 2 * Cluster::PARTITIONS);
}
