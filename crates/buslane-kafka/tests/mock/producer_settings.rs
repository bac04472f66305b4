//! Settings of the producer that show while the cluster stores nothing.

use super::cluster::{Cluster, patient};
use buslane_core::PublishError;
use buslane_kafka::ProducerConfig;
use buslane_testkit::broker_suite::{publish, record};
use std::time::Duration;

/// The request that brings records.
const PRODUCE: i16 = 0;

/// A batch that a broker refuses for now is sent again as often as configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_batch_is_sent_again_as_often_as_configured() {
    for retries in [1, 3] {
        let cluster = Cluster::new();
        let topic = cluster.topic("orders");
        let broker = cluster.publisher(ProducerConfig { retries, ..patient() }).await;
        publish(&broker, &topic, vec![record("k", "stored")]).await;
        cluster.count_requests();
        cluster.refuse_records(10);
        let answer = broker.publish(&topic, vec![record("k", "refused")]).get().await.remove(0);
        assert!(matches!(answer, Err(PublishError::Unavailable { .. })), "{answer:?}");
        assert_eq!(cluster.requests(PRODUCE), 1 + retries as usize);
    }
}

/// Records beyond the client's queue wait for room, by their number and by their bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_the_queue_has_the_configured_room() {
    let timeout = Duration::from_secs(2);
    let by_number = ProducerConfig { queue_messages: 5, ..patient() };
    let by_bytes = ProducerConfig { queue_kib: 5, ..patient() };
    for (settings, is_small) in [(by_number, true), (by_bytes, true), (patient(), false)] {
        let cluster = Cluster::new();
        let topic = cluster.topic("orders");
        let settings = ProducerConfig { publish_timeout: timeout, ..settings };
        let broker = cluster.publisher(settings).await;
        broker.ensure_topic(&topic).await.expect("a topic");
        cluster.silence(1);
        let records = (0..20).map(|_| record("k", "x".repeat(1_000))).collect();
        let answers = broker.publish(&topic, records).get().await;
        let found_no_room = |answer: &Result<_, PublishError>| matches!(answer, Err(error) if error.to_string().contains("queue is full"));
        assert_eq!(answers.iter().any(found_no_room), is_small, "{answers:?}");
    }
}
