//! Back-pressure of readers and of publishers.

use super::{BrokerFixture, BrokerHarness, Feed, bodies, publish, record, settle};
use buslane_core::{PublishError, Topic};
use std::{future::poll_fn, task::Poll, time::Duration};

/// Two keys in different partitions.
async fn two_keys(feed: &Feed, topic: &Topic) -> (String, String, u32) {
    for n in 0..1_000 {
        let key = format!("key-{n}");
        let receipts =
            publish(&feed.broker, topic, vec![record("key", "first"), record(&key, "second")])
                .await;
        if receipts[0].partition != receipts[1].partition {
            return ("key".to_owned(), key, receipts[0].partition);
        }
    }
    panic!("a thousand keys in one partition");
}

/// A partition that is not read does not delay the others.
pub async fn k4_an_unread_partition_leaves_the_others_flowing<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    feed.until_assigned(harness.sources()).await;
    let (slow, fast, partition) = two_keys(&feed, &topic).await;
    feed.unread.push(partition);
    settle(feed.take(1).await);
    for n in 0..20 {
        publish(
            &feed.broker,
            &topic,
            vec![record(&slow, "slow"), record(&fast, format!("fast {n}"))],
        )
        .await;
        let got = feed.take(1).await;
        assert_eq!(bodies(&got), [format!("fast {n}")]);
        settle(got);
    }
    feed.unread.clear();
    let mut seen = bodies(&feed.take(21).await);
    assert_eq!(seen.split_off(seen.len() - 20), vec!["slow"; 20]);
    feed.close().await;
}

/// A reader that waits for room learns of the end without reading.
pub async fn k4_an_intake_that_is_not_read_sees_its_end<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    feed.until_assigned(harness.sources()).await;
    publish(&feed.broker, &topic, vec![record("k", "unread")]).await;
    for intake in &mut feed.intakes {
        assert!(poll_fn(|cx| Poll::Ready(intake.poll_end(cx))).await.is_pending());
    }
    let broker = feed.broker.clone();
    let (_, ()) = tokio::join!(broker.stop_reading(), feed.until_assigned(0));
    feed.close().await;
}

/// A topic with a full partition, for which one more record waits.
async fn full<F: BrokerFixture>(harness: &BrokerHarness<F>, topic: &Topic, feed: &Feed) {
    let capacity = harness
        .can
        .capacity
        .expect("list this scenario as unmet where nothing makes publishers wait");
    let records = (0..capacity).map(|n| record("k", n.to_string())).collect();
    publish(&feed.broker, topic, records).await;
}

/// The error names the reason of the wait.
pub async fn b6_a_full_partition_makes_publishers_wait_and_time_out<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let spec =
        super::MemberSpec { publish_timeout: Duration::from_millis(50), ..harness.spec("g") };
    let mut feed = harness.feed(harness.fixture.member(spec).await);
    feed.subscribe(&topic).await;
    feed.until_assigned(harness.sources()).await;
    full(&harness, &topic, &feed).await;
    let answers = feed.broker.publish(&topic, vec![record("k", "a"), record("k", "b")]).get().await;
    for answer in answers {
        match answer {
            Err(PublishError::Timeout { topic: named, waited, detail }) => {
                assert_eq!((named, waited), (topic.clone(), Duration::from_millis(50)));
                assert!(!detail.is_empty(), "the error says what was waited for");
            }
            other => panic!("expected a timeout, got {other:?}"),
        }
    }
    // Room again: the next one goes through, and what timed out was not stored.
    settle(feed.take(1).await);
    let receipts = publish(&feed.broker, &topic, vec![record("k", "c")]).await;
    assert_eq!(receipts[0].offset, harness.can.capacity.unwrap_or_default() as u64);
    feed.close().await;
}

/// Each batch keeps its order; concurrent calls have no order between them.
pub async fn b6_a_waiting_publish_goes_on_when_there_is_room<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    feed.until_assigned(harness.sources()).await;
    full(&harness, &topic, &feed).await;
    let (broker, capacity) = (feed.broker.clone(), harness.can.capacity.unwrap_or_default());
    let waiting = [0, 1, 2].map(|n| {
        let bodies = [format!("late {n} first"), format!("late {n} second")];
        broker.publish(&topic, bodies.map(|body| record("k", body)).into())
    });
    let reading = async {
        for _ in 0..capacity {
            settle(feed.take(1).await);
        }
        feed.take(6).await
    };
    let [one, two, three] = waiting;
    let (got, one, two, three) = tokio::join!(reading, one.get(), two.get(), three.get());
    assert!(one.into_iter().chain(two).chain(three).all(|answer| answer.is_ok()));
    for n in 0..3 {
        let mine: Vec<_> = bodies(&got)
            .into_iter()
            .filter(|body| body.starts_with(&format!("late {n}")))
            .collect();
        assert_eq!(mine, [format!("late {n} first"), format!("late {n} second")]);
    }
    settle(got);
    feed.close().await;
}

/// A cancelled caller does not delay those behind it.
pub async fn b6_a_cancelled_publish_leaves_the_others_alone<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    feed.until_assigned(harness.sources()).await;
    full(&harness, &topic, &feed).await;
    let broker = feed.broker.clone();
    let mut cancelled = Box::pin(broker.publish(&topic, vec![record("k", "cancelled")]).get());
    assert!(poll_fn(|cx| Poll::Ready(cancelled.as_mut().poll(cx))).await.is_pending());
    let mut kept = Box::pin(broker.publish(&topic, vec![record("k", "kept")]).get());
    assert!(poll_fn(|cx| Poll::Ready(kept.as_mut().poll(cx))).await.is_pending());
    drop(cancelled);
    settle(feed.take(1).await);
    let answers = kept.await;
    assert!(answers[0].is_ok(), "{answers:?}");
    let mut got = feed.take(harness.can.capacity.unwrap_or_default()).await;
    assert_eq!(bodies(&got.split_off(got.len() - 1)), ["kept"]);
    settle(got);
    feed.close().await;
}
