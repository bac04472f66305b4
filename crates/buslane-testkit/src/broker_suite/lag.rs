//! How far a group is behind. SPEC: K8

use super::{BrokerFixture, BrokerHarness, Feed, publish, record, settle};
use crate::deadline::turn;
use buslane_core::{BrokerError, Lag};
use std::time::Duration;
use tokio::time::Instant;

/// Polls until the sum of all partitions is `messages`, because a broker may learn the end of its
/// log with the next fetch.
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
    // The lag counts the done messages above an open one too, although only that one is left.
    settle(got.drain(1..));
    let lags = until_lag(&harness, &feed, "6 messages behind, 1 of them open", |lags| {
        (sum(lags), open(lags)) == (6, 1)
    })
    .await;
    // The age is that one's, and grows with it while younger ones come and go.
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
