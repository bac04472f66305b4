//! Helpers of the tests on a real broker: members, topics, and foreign clients.

use buslane_core::{Broker, Record, Topic};
use buslane_kafka::{ConsumerConfig, KafkaBroker, KafkaConfig};
use buslane_testkit::{
    broker_suite::{Feed, record},
    deadline::SILENCE,
    server,
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

pub(crate) fn servers() -> String {
    server::address("KAFKA_BOOTSTRAP_SERVERS")
}

/// A member of `group` that notices a missing member soon.
pub(crate) fn config(group: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: servers(),
        group: group.to_owned(),
        consumer: ConsumerConfig {
            session_timeout: SILENCE,
            heartbeat_interval: Duration::from_millis(500),
            ..ConsumerConfig::default()
        },
        connect_timeout: PATIENCE,
        request_timeout: PATIENCE,
        ..KafkaConfig::default()
    }
}

pub(crate) async fn connect(config: KafkaConfig) -> Feed {
    let broker: Arc<dyn Broker> =
        Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"));
    Feed::new(broker, PATIENCE)
}

/// A member that reads `topic`.
pub(crate) async fn member(config: KafkaConfig, topic: &Topic) -> Feed {
    let feed = connect(config).await;
    feed.subscribe(topic).await;
    feed
}

pub(crate) fn name(what: &str) -> Topic {
    Topic::new(&server::unique(what)).expect("a good name")
}

/// Creates a topic with settings in the terms of Kafka.
pub(crate) async fn topic(what: &str, partitions: i32, settings: &[(&str, &str)]) -> Topic {
    let topic = name(what);
    create(&topic, partitions, settings).await;
    topic
}

/// As [`topic`], with a given name.
pub(crate) async fn create(topic: &Topic, partitions: i32, settings: &[(&str, &str)]) {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let admin = admin();
    let made =
        admin.create_topics(&[new], &AdminOptions::new().operation_timeout(Some(PATIENCE))).await;
    made.expect("an answer").remove(0).expect("a new topic");
    // The controller answers a moment before the broker knows the topic.
    until("the broker knows the topic", || {
        let known = admin.inner().fetch_metadata(Some(topic), PATIENCE).expect("an answer");
        let partitions = known
            .topics()
            .iter()
            .find(|known| known.name() == topic.as_str())
            .map(|topic| topic.partitions());
        partitions.is_some_and(|known| {
            !known.is_empty() && known.iter().all(|partition| partition.leader() >= 0)
        })
    });
}

pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    foreign(&[])
}

/// A client of librdkafka with these properties.
pub(crate) fn foreign<T: FromClientConfig>(properties: &[(&str, &str)]) -> T {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers());
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create().expect("a client")
}

/// The offset that a group has committed in partition 0.
pub(crate) fn committed(group: &str, topic: &Topic) -> Option<i64> {
    committed_of(group, topic, 0)
}

/// The offset that a group has committed in a partition.
pub(crate) fn committed_of(group: &str, topic: &Topic, partition: i32) -> Option<i64> {
    let answer = commits(group, topic, partition);
    match answer.find_partition(topic, partition).expect("asked for").offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// The metadata of a group's commit in partition 0.
pub(crate) fn committed_metadata(group: &str, topic: &Topic) -> String {
    let answer = commits(group, topic, 0);
    answer.find_partition(topic, 0).expect("asked for").metadata().to_owned()
}

fn commits(group: &str, topic: &Topic, partition: i32) -> TopicPartitionList {
    let client: BaseConsumer = foreign(&[("group.id", group)]);
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, partition);
    client.committed_offsets(asked, PATIENCE).expect("an answer")
}

/// The partitions and their ends.
pub(crate) fn ends(topic: &Topic, partitions: i32) -> Vec<(i32, i64)> {
    let client: BaseConsumer = foreign(&[("group.id", "looks-only")]);
    let end = |partition| client.fetch_watermarks(topic, partition, PATIENCE).expect("an answer").1;
    (0..partitions).map(|partition| (partition, end(partition))).collect()
}

/// Waits until a group has committed `offset` or more for partition 0.
pub(crate) fn until_committed(group: &str, topic: &Topic, offset: i64) {
    until(&format!("a commit at {offset}"), || {
        committed(group, topic).is_some_and(|found| found >= offset)
    });
}

/// Waits for a condition that asks a broker.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
    }
}

/// The offsets of partition 0, as a foreign client reads them.
pub(crate) fn stored(topic: &Topic) -> Vec<i64> {
    let client: BaseConsumer =
        foreign(&[("group.id", "looks-only"), ("enable.partition.eof", "true")]);
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    client.assign(&all).expect("an assignment");
    let (mut offsets, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    loop {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => offsets.push(message.offset()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return offsets,
            Some(Err(error)) => panic!("{error}"),
            None => assert!(Instant::now() < deadline, "{} records were read", offsets.len()),
        }
    }
}

/// Records with their numbers as bodies.
pub(crate) fn numbers(range: Range<usize>) -> Vec<Record> {
    range.map(|n| record(&format!("k{}", n % 7), n.to_string())).collect()
}

/// The numbers as bodies.
pub(crate) fn texts(range: Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
