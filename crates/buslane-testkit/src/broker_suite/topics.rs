//! Settings of topics.

use std::sync::Arc;
use std::time::Duration;

use buslane_core::{
    Broker, BrokerError, Lag, Topic, TopicCompression, TopicSettings, TopicStrategy,
};
use tokio::time::Instant;

use super::{BrokerFixture, BrokerHarness, Feed, publish, record, settle};
use crate::deadline::turn;

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

/// An update changes the named setting and keeps the others.
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

/// Added partitions move keys. Messages from before the update are still read.
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

/// Validation names every difference, and reports a missing topic.
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

/// A backend that compresses keeps the setting; others refuse it by name.
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

/// Polls until the lag of all partitions adds up to `messages`: a broker may learn the end of its
/// log only with the next fetch.
async fn until<F: BrokerFixture>(
    harness: &BrokerHarness<F>,
    feed: &Feed,
    messages: u64,
) -> Vec<Lag> {
    until_lag(harness, feed, &format!("{messages} messages behind"), |lags| sum(lags) == messages)
        .await
}

async fn until_lag<F: BrokerFixture>(
    harness: &BrokerHarness<F>,
    feed: &Feed,
    what: &str,
    is: impl Fn(&[Lag]) -> bool,
) -> Vec<Lag> {
    let deadline = Instant::now() + harness.can.patience;
    loop {
        let lags = feed.broker.lag().await.expect("an open broker");
        if is(&lags) {
            return lags;
        }
        assert!(Instant::now() < deadline, "{what}, found {lags:?}");
        turn().await;
    }
}

fn sum(lags: &[Lag]) -> u64 {
    lags.iter().map(|lag| lag.messages).sum()
}

fn oldest(lags: &[Lag]) -> Option<Duration> {
    lags.iter().filter_map(|lag| lag.age).max()
}

fn open(lags: &[Lag]) -> u64 {
    lags.iter().map(|lag| lag.open).sum()
}

/// The lag counts from the lowest open message of each partition, and is zero when all are settled.
pub async fn k8_lag_counts_from_the_lowest_open_message<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    assert!(until(&harness, &feed, 0).await.iter().all(|lag| lag.age.is_none()));
    publish(&feed.broker, &topic, (0..10).map(|n| record("k", n.to_string())).collect()).await;
    let mut got = feed.take(10).await;
    let lags = until(&harness, &feed, 10).await;
    let behind: Vec<_> = lags.iter().filter(|lag| lag.messages > 0).collect();
    assert_eq!((behind.len(), &behind[0].topic, behind[0].messages), (1, &topic, 10), "{lags:?}");
    assert!(behind[0].age.is_some(), "{lags:?}");
    settle(got.drain(..4));
    until(&harness, &feed, 6).await;
    // The lag also counts the settled messages above an open one.
    settle(got.drain(1..));
    let lags = until_lag(&harness, &feed, "6 messages behind, 1 of them open", |lags| {
        (sum(lags), open(lags)) == (6, 1)
    })
    .await;
    // The age is that of the oldest open message, and grows while younger messages arrive and
    // settle.
    let before = oldest(&lags);
    publish(&feed.broker, &topic, (10..15).map(|n| record("k", n.to_string())).collect()).await;
    settle(feed.take(5).await);
    let lags = until_lag(&harness, &feed, "11 behind, 1 of them open", |lags| {
        (sum(lags), open(lags)) == (11, 1)
    })
    .await;
    assert!(before.is_some() && oldest(&lags) >= before, "{before:?}, {lags:?}");
    settle(got);
    assert!(until(&harness, &feed, 0).await.iter().all(|lag| lag.age.is_none()));
    feed.close().await;
}

/// A closed broker reports no lag.
pub async fn k8_a_closed_broker_has_no_lag<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let feed = harness.reader("g", &harness.topic("orders")).await;
    let broker = feed.broker.clone();
    feed.close().await;
    assert_eq!(broker.lag().await, Err(BrokerError::Closed));
}
