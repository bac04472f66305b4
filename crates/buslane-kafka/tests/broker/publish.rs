//! Publishing to a real broker.

use buslane_core::{Broker, BrokerError, PublishError, Record, Topic};
use buslane_kafka::{KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{broker_suite::record, server};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use std::{collections::HashSet, sync::Arc, time::Duration};

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;
const PARTITIONS: u32 = 8;

async fn broker(producer: ProducerConfig) -> Arc<dyn Broker> {
    let config = KafkaConfig {
        brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"),
        group: server::unique("g"),
        // A starved broker takes its time.
        producer: ProducerConfig { publish_timeout: PATIENCE, ..producer },
        create_missing: Some(buslane_kafka::TopicConfig {
            partitions: Some(PARTITIONS),
            ..Default::default()
        }),
        ..KafkaConfig::default()
    };
    Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"))
}

fn topic() -> Topic {
    Topic::new(&server::unique("published")).expect("a good name")
}

fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| record(&format!("k{}", n % 100), n.to_string())).collect()
}

/// How many records a topic has, from its watermarks.
fn stored(topic: &Topic) -> u64 {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", server::address("KAFKA_BOOTSTRAP_SERVERS"))
        .create()
        .expect("a client for questions");
    (0..PARTITIONS)
        .map(|partition| {
            let partition = i32::try_from(partition).expect("few partitions");
            let (low, high) =
                client.fetch_watermarks(topic, partition, PATIENCE).expect("an answer");
            u64::try_from(high - low).expect("in order")
        })
        .sum()
}

/// Metadata may name the leader of a new partition before that broker serves it. Records that are
/// published then must not count as duplicates of themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_the_first_records_of_a_new_topic_are_stored() {
    let (one, two) =
        (broker(ProducerConfig::default()).await, broker(ProducerConfig::default()).await);
    for _ in 0..20 {
        let topic = topic();
        let (first, second) = tokio::join!(
            one.publish(&topic, records(500)).get(),
            two.publish(&topic, records(500)).get()
        );
        let receipts: Vec<_> = first
            .into_iter()
            .chain(second)
            .map(|answer| answer.expect("the broker takes it"))
            .collect();
        let places: HashSet<_> =
            receipts.iter().map(|receipt| (receipt.partition, receipt.offset)).collect();
        assert_eq!(
            (places.len(), receipts.iter().filter(|receipt| receipt.duplicate).count()),
            (1_000, 0)
        );
        let asked = topic.clone();
        assert_eq!(
            tokio::task::spawn_blocking(move || stored(&asked)).await.expect("no panic"),
            1_000
        );
    }
    for broker in [one, two] {
        broker.close(PATIENCE).await.expect("nothing is open");
    }
}

/// With more records than the producer's queue holds, the publisher waits for room and loses none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_a_full_queue_makes_the_publisher_wait() {
    let broker = broker(ProducerConfig { queue_messages: 100, ..ProducerConfig::default() }).await;
    let topic = topic();
    let answers = broker.publish(&topic, records(5_000)).get().await;
    assert!(
        answers.iter().all(Result::is_ok),
        "{:?}",
        answers.iter().find(|answer| answer.is_err())
    );
    let asked = topic.clone();
    assert_eq!(tokio::task::spawn_blocking(move || stored(&asked)).await.expect("no panic"), 5_000);
    broker.close(PATIENCE).await.expect("nothing is open");
}

/// With `create_missing`, a missing topic is created before a record needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_a_topic_is_made_sure_of() {
    let (broker, topic) = (broker(ProducerConfig::default()).await, topic());
    assert_eq!(broker.ensure_topic(&topic).await, Ok(()));
    let settings = broker.topic_settings(&topic).await.expect("an answer").expect("a topic");
    assert_eq!(settings.partitions, Some(PARTITIONS));
    broker.close(PATIENCE).await.expect("nothing is open");
}

/// The error names the missing topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_an_unknown_topic_is_refused() {
    let config = KafkaConfig {
        brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"),
        group: server::unique("g"),
        ..KafkaConfig::default()
    };
    let broker = KafkaBroker::connect(config).await.expect("a broker that answers");
    let topic = topic();
    assert_eq!(
        broker.ensure_topic(&topic).await,
        Err(BrokerError::UnknownTopic { topic: topic.clone() })
    );
    for answer in broker.publish(&topic, records(2)).get().await {
        let error = answer.expect_err("no such topic");
        assert!(
            error.is_permanent()
                && matches!(error, PublishError::Refused { .. })
                && error.to_string().contains(topic.as_str()),
            "{error}"
        );
    }
    broker.close(PATIENCE).await.expect("nothing is open");
}
