//! Settings of topics.

use super::{BrokerFixture, BrokerHarness, publish, record, settle};
use buslane_core::{Broker, BrokerError, Topic, TopicCompression, TopicSettings, TopicStrategy};
use std::{sync::Arc, time::Duration};

const HOUR: Duration = Duration::from_secs(3_600);

fn three() -> TopicSettings {
    TopicSettings { partitions: Some(3), retention: Some(HOUR), ..TopicSettings::default() }
}

async fn settings(broker: &Arc<dyn Broker>, topic: &Topic) -> Option<TopicSettings> {
    broker.topic_settings(topic).await.expect("settings can be read")
}

/// A new topic has the given settings, and defaults otherwise.
pub async fn k6_a_topic_is_created_with_its_settings<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.feed(harness.member("g").await);
    assert_eq!(settings(&feed.broker, &topic).await, None);
    let stands = feed
        .broker
        .configure_topic(&topic, &three(), TopicStrategy::CreateOnly)
        .await
        .expect("created");
    assert_eq!((stands.partitions, stands.retention), (Some(3), Some(HOUR)));
    assert_eq!(settings(&feed.broker, &topic).await, Some(stands));
    feed.subscribe(&topic).await;
    feed.until_assigned(3).await;
    feed.close().await;
}

/// Creating an existing topic returns its settings.
pub async fn k6_create_only_leaves_an_existing_topic_alone<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    let before =
        member.configure_topic(&topic, &three(), TopicStrategy::CreateOnly).await.expect("created");
    let other = TopicSettings {
        partitions: Some(9),
        retention: Some(2 * HOUR),
        expand: true,
        ..Default::default()
    };
    assert_eq!(member.configure_topic(&topic, &other, TopicStrategy::CreateOnly).await, Ok(before));
    harness.feed(member).close().await;
}

/// An update changes the given setting, and keeps the others.
pub async fn k6_an_update_changes_what_it_names_and_never_shrinks<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    let update = TopicStrategy::CreateOrUpdate;
    member.configure_topic(&topic, &three(), update).await.expect("created");
    let longer = TopicSettings { retention: Some(2 * HOUR), ..Default::default() };
    let stands = member.configure_topic(&topic, &longer, update).await.expect("updated");
    assert_eq!((stands.partitions, stands.retention), (Some(3), Some(2 * HOUR)));
    let fewer = TopicSettings {
        partitions: Some(2),
        retention: Some(HOUR),
        expand: true,
        ..Default::default()
    };
    let error =
        member.configure_topic(&topic, &fewer, update).await.expect_err("a topic never shrinks");
    assert!(matches!(error, BrokerError::Setting { setting: "partitions", .. }), "{error}");
    assert_eq!(settings(&member, &topic).await, Some(stands), "a refused update changes nothing");
    harness.feed(member).close().await;
}

/// Keys move when partitions are added, and older messages are still read.
pub async fn k6_an_update_adds_partitions_only_when_told<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.feed(harness.member("g").await);
    let update = TopicStrategy::CreateOrUpdate;
    feed.broker.configure_topic(&topic, &three(), update).await.expect("created");
    feed.subscribe(&topic).await;
    feed.until_assigned(3).await;
    let more = TopicSettings { partitions: Some(5), ..Default::default() };
    let error = feed.broker.configure_topic(&topic, &more, update).await.expect_err("not told to");
    assert!(matches!(error, BrokerError::Setting { setting: "partitions", .. }), "{error}");
    let more = TopicSettings { expand: true, ..more };
    let stands = feed.broker.configure_topic(&topic, &more, update).await.expect("told to");
    assert_eq!(stands.partitions, Some(5));
    feed.until_assigned(5).await;
    publish(&feed.broker, &topic, (0..50).map(|n| record(&n.to_string(), n.to_string())).collect())
        .await;
    settle(feed.take(50).await);
    feed.close().await;
}

/// Validation names every difference, and a missing topic.
pub async fn k6_validation_names_each_difference_and_changes_nothing<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    let validate = TopicStrategy::ValidateOnly;
    let missing = member.configure_topic(&topic, &three(), validate).await;
    assert_eq!(missing, Err(BrokerError::UnknownTopic { topic: topic.clone() }));
    let stands =
        member.configure_topic(&topic, &three(), TopicStrategy::CreateOnly).await.expect("created");
    assert_eq!(member.configure_topic(&topic, &three(), validate).await, Ok(stands.clone()));
    let other =
        TopicSettings { partitions: Some(7), retention: Some(2 * HOUR), ..Default::default() };
    let error = member
        .configure_topic(&topic, &other, validate)
        .await
        .expect_err("two settings differ")
        .to_string();
    assert!(error.contains("partitions") && error.contains("retention"), "{error}");
    assert_eq!(settings(&member, &topic).await, Some(stands));
    harness.feed(member).close().await;
}

/// A backend that can compress keeps the setting, and others refuse it by name.
pub async fn k6_compression_is_kept_or_refused<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    let zstd = TopicSettings { compression: Some(TopicCompression::Zstd), ..three() };
    match member.configure_topic(&topic, &zstd, TopicStrategy::CreateOnly).await {
        Ok(stands) => {
            assert_eq!(stands.compression, zstd.compression);
            let gzip =
                TopicSettings { compression: Some(TopicCompression::Gzip), ..Default::default() };
            let error = member
                .configure_topic(&topic, &gzip, TopicStrategy::ValidateOnly)
                .await
                .expect_err("differs");
            assert!(
                matches!(error, BrokerError::Setting { setting: "compression", .. }),
                "{error}"
            );
            let updated = member
                .configure_topic(&topic, &gzip, TopicStrategy::CreateOrUpdate)
                .await
                .expect("updated");
            assert_eq!((updated.compression, updated.retention), (gzip.compression, Some(HOUR)));
        }
        Err(error) => {
            assert!(
                matches!(error, BrokerError::Setting { setting: "compression", .. }),
                "{error}"
            );
            assert_eq!(settings(&member, &topic).await, None);
        }
    }
    harness.feed(member).close().await;
}

/// `Skip` does not even create the topic.
pub async fn k6_skip_does_nothing<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    member
        .configure_topic(&topic, &three(), TopicStrategy::Skip)
        .await
        .expect("nothing can go wrong");
    assert_eq!(settings(&member, &topic).await, None);
    harness.feed(member).close().await;
}

/// Impossible settings are refused before the topic is created.
pub async fn k6_impossible_settings_are_refused<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    let none = TopicSettings { partitions: Some(0), ..Default::default() };
    for strategy in [TopicStrategy::CreateOnly, TopicStrategy::CreateOrUpdate] {
        let error =
            member.configure_topic(&topic, &none, strategy).await.expect_err("no partitions");
        assert!(matches!(error, BrokerError::Setting { setting: "partitions", .. }), "{error}");
    }
    assert_eq!(settings(&member, &topic).await, None);
    harness.feed(member).close().await;
}
