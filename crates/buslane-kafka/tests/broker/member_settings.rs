//! The settings of a group member, as the broker describes its group.

use super::kit;
use buslane_core::{Topic, TopicCompression, TopicSettings};
use buslane_kafka::{Assignment, KafkaConfig, OffsetReset, TopicConfig};
use buslane_testkit::{
    broker_suite::{bodies, publish, record, settle},
    server::unique,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::Duration;

/// The protocol of a group, and the client ids of its members.
async fn described(group: String) -> (String, Vec<String>) {
    let describe = move || {
        let client: BaseConsumer = kit::foreign(&[("group.id", "looks-only")]);
        let list = client.fetch_group_list(Some(&group), kit::PATIENCE).expect("an answer");
        let group = list.groups().first().expect("a group");
        let members = group.members().iter().map(|member| member.client_id().to_owned());
        (group.protocol().to_owned(), members.collect())
    };
    tokio::task::spawn_blocking(describe).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_the_group_has_the_members_assignment_and_name() {
    for (assignment, protocol) in [
        (Assignment::CooperativeSticky, "cooperative-sticky"),
        (Assignment::Range, "range"),
        (Assignment::RoundRobin, "roundrobin"),
    ] {
        let (group, topic) = (unique("g"), kit::topic("orders", 2, &[]).await);
        let mut config = KafkaConfig { client_id: "billing".to_owned(), ..kit::config(&group) };
        config.consumer.assignment = assignment;
        let mut member = kit::member(config, &topic).await;
        member.until_assigned(2).await;
        let expected = (protocol.to_owned(), vec!["billing".to_owned()]);
        assert_eq!(described(group).await, expected);
        member.close().await;
    }
}

/// A group without a commit begins at the end of the topic, or at its beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_new_group_begins_where_the_reset_says() {
    let topic = kit::topic("orders", 1, &[]).await;
    let publisher = kit::connect(kit::config(&unique("g"))).await;
    publish(&publisher.broker, &topic, kit::numbers(0..3)).await;
    for (offset_reset, first) in [(OffsetReset::Earliest, 0), (OffsetReset::Latest, 3)] {
        let mut config = kit::config(&unique("g"));
        config.consumer.offset_reset = offset_reset;
        let mut member = kit::member(config, &topic).await;
        member.until_assigned(1).await;
        let mut got = member.take_for(Duration::from_millis(50)).await;
        while got.is_empty() {
            // The client may look for the end of the topic after a record was published.
            publish(&publisher.broker, &topic, kit::numbers(3..4)).await;
            got = member.take_for(Duration::from_millis(50)).await;
        }
        assert_eq!(bodies(&got)[0], first.to_string(), "{offset_reset:?}");
        settle(got);
        member.close().await;
    }
    publisher.close().await;
}

/// A broker keeps a small record back until there are enough bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_fetch_waits_for_the_configured_bytes() {
    let topic = kit::topic("orders", 1, &[]).await;
    let mut config = kit::config(&unique("g"));
    config.consumer.fetch_min_bytes = 100_000;
    config.consumer.fetch_max_wait = kit::PATIENCE / 2;
    let mut member = kit::member(config, &topic).await;
    member.until_assigned(1).await;
    publish(&member.broker, &topic, kit::numbers(0..1)).await;
    assert!(member.take_for(Duration::from_secs(1)).await.is_empty(), "it is small");
    let large = record("k", "x".repeat(200_000));
    publish(&member.broker, &topic, vec![large]).await;
    settle(member.take(2).await);
    member.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_a_missing_topic_gets_the_configured_settings() {
    let create_missing = TopicConfig {
        partitions: Some(3),
        replication: Some(1),
        retention: Some(Duration::from_hours(5)),
        retention_bytes: Some(7_000_000),
        compression: Some(TopicCompression::Lz4),
    };
    let wanted = TopicSettings::from(create_missing.clone());
    let config = KafkaConfig { create_missing: Some(create_missing), ..kit::config(&unique("g")) };
    let (member, topic): (_, Topic) = (kit::connect(config).await, kit::name("missing"));
    publish(&member.broker, &topic, kit::numbers(0..1)).await;
    let settings = member.broker.topic_settings(&topic).await.expect("an answer");
    assert_eq!(settings, Some(wanted));
    member.close().await;
}
