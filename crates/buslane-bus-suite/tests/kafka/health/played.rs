//! Faults that a test cannot cause on a real broker from outside: refused commits, and a partition
//! without a leader.

use super::{PATIENCE, SOON, bus_of, counts, publish, watchful};
use buslane::{Fault, Topic};
use buslane_bus_suite::health::{named, well};
use buslane_kafka::{Assignment, ConsumerConfig, KafkaConfig};
use buslane_testkit::{deadline::within, server::unique, signal::Count};
use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, Producer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{sync::Arc, time::Duration};

/// The client that hosts a mock cluster. The cluster ends with the client.
struct Cluster(BaseProducer);

impl Cluster {
    fn new() -> Self {
        let host =
            Self(ClientConfig::new().set("test.mock.num.brokers", "1").create().expect("a client"));
        // Later versions name the leader in the response instead, and crash when a partition has
        // none.
        for (request, last) in [(RDKafkaApiKey::Fetch, 11), (RDKafkaApiKey::Produce, 7)] {
            host.cluster().apiversion(request, Some(0), Some(last)).expect("taken");
        }
        host
    }

    fn cluster(&self) -> MockCluster<'_, impl rdkafka::ClientContext> {
        self.0.client().mock_cluster().expect("its host")
    }

    fn topic(&self, partitions: i32) -> Topic {
        let topic = Topic::new(&unique("orders")).expect("a good name");
        self.cluster().create_topic(&topic, partitions, 1).expect("made");
        topic
    }

    fn config(&self) -> KafkaConfig {
        KafkaConfig {
            brokers: self.cluster().bootstrap_servers(),
            group: unique("g"),
            consumer: ConsumerConfig {
                // On the mock cluster, the other protocols take seconds to form a group.
                assignment: Assignment::Broker,
                commit_interval: Duration::from_millis(50),
                ..ConsumerConfig::default()
            },
            ..KafkaConfig::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_commits_that_are_refused_are_named() {
    let cluster = Cluster::new();
    let topic = cluster.topic(1);
    let mut config = watchful();
    config.health.settlement_limit = SOON;
    let (bus, count) = (bus_of(config, cluster.config()).await, Arc::new(Count::default()));
    bus.subscribe_envelopes(&topic, counts(&count)).await.expect("subscribes");
    publish(&bus, &topic, 0..5).await;
    within(PATIENCE, "five messages", count.reached(5)).await;
    well(&bus).await;
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    cluster.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 10_000]);
    publish(&bus, &topic, 5..10).await;
    let found = named(&bus, Fault::CommitRefused).await;
    assert!(found.detail.to_lowercase().contains("authorization"), "{found:?}");
    cluster.cluster().clear_request_errors(RDKafkaApiKey::OffsetCommit);
    well(&bus).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_partition_without_a_leader_is_named() {
    let cluster = Cluster::new();
    let topic = cluster.topic(3);
    let mut config = watchful();
    config.health.partition_limit = SOON;
    let (bus, count) = (bus_of(config, cluster.config()).await, Arc::new(Count::default()));
    bus.subscribe_envelopes(&topic, counts(&count)).await.expect("subscribes");
    publish(&bus, &topic, 0..5).await;
    within(PATIENCE, "five messages", count.reached(5)).await;
    well(&bus).await;
    cluster.cluster().partition_leader(&topic, 1, None).expect("taken away");
    let found = named(&bus, Fault::DeadPartition).await;
    assert_eq!((found.subject, &*found.detail), (format!("{topic}/1"), "no broker leads it"));
    assert!(bus.health().ready, "the others are served");
    cluster.cluster().partition_leader(&topic, 1, Some(1)).expect("given back");
    well(&bus).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}
