//! The lag of a group. SPEC: N6

use super::kit;
use buslane_core::Lag;
use buslane_testkit::{
    broker_suite::{Feed, publish, settle},
    deadline::within,
    server::unique,
};

/// Asks until this many messages are not settled.
async fn until(feed: &Feed, messages: u64) -> Vec<Lag> {
    let wait = async {
        loop {
            let lags = feed.broker.lag().await.expect("an open broker");
            if lags.iter().map(|lag| lag.messages).sum::<u64>() == messages {
                return lags;
            }
            tokio::task::yield_now().await;
        }
    };
    within(kit::PATIENCE, &format!("{messages} messages behind"), wait).await
}

/// Messages are acknowledged one by one: a settled message above an open one does not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_lag_counts_what_is_not_settled_and_how_old_it_is() {
    let topic = kit::name("orders");
    let mut feed = kit::member(kit::config(&unique("g")), &topic).await;
    assert!(until(&feed, 0).await.iter().all(|lag| lag.age.is_none()));
    publish(&feed.broker, &topic, kit::numbers(0..10)).await;
    let mut got = feed.take(10).await;
    let lags = until(&feed, 10).await;
    assert_eq!((lags.len(), &lags[0].topic), (1, &topic));
    let all = lags[0].age.expect("something is behind");
    settle(got.drain(3..));
    let lags = until(&feed, 3).await;
    assert!(lags[0].age.expect("something is behind") >= all, "the oldest is open");
    settle(got);
    assert!(until(&feed, 0).await.iter().all(|lag| lag.age.is_none()));
    feed.close().await;
}

/// Before anything is read, the age comes from the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_lag_of_what_no_member_has_read_has_an_age() {
    let topic = kit::name("orders");
    let mut config = kit::config(&unique("g"));
    (config.consumer.max_ack_pending, config.consumer.prefetch) = (1, 1);
    let mut feed = kit::member(config, &topic).await;
    publish(&feed.broker, &topic, kit::numbers(0..5)).await;
    let got = feed.take(1).await;
    assert!(until(&feed, 5).await[0].age.is_some());
    settle(got);
    assert!(until(&feed, 4).await[0].age.is_some());
    settle(feed.take(1).await);
    feed.close().await;
}
