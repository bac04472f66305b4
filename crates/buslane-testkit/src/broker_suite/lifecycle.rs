//! Stopping and closing.

use super::{BrokerFixture, BrokerHarness, bodies, publish, record, settle};
use buslane_core::{BrokerError, PublishError, SubscribeOptions, TopicSettings, TopicStrategy};
use std::time::Duration;

/// Two closes in a row and eight concurrent ones get the same answer.
pub async fn b2_closing_twice_and_at_once_gives_one_answer<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    publish(&feed.broker, &topic, vec![record("k", "open")]).await;
    let open = feed.take(1).await;
    let closing: Vec<_> = (0..8)
        .map(|_| {
            let broker = feed.broker.clone();
            tokio::spawn(async move { broker.close(Duration::from_millis(100)).await })
        })
        .collect();
    let mut answers = Vec::new();
    for close in closing {
        answers.push(close.await.expect("no panic"));
    }
    answers.push(feed.broker.close(Duration::ZERO).await);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    drop(open);
}

/// Every call of a closed broker gets the same error.
pub async fn b2_a_closed_broker_refuses_everything<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let feed = harness.reader("g", &topic).await;
    let broker = feed.broker.clone();
    feed.close().await;
    let answers = broker.publish(&topic, vec![record("k", "0"), record("k", "1")]).get().await;
    assert_eq!(answers, [Err(PublishError::Closed), Err(PublishError::Closed)]);
    assert_eq!(PublishError::Closed.to_string(), "eventbus is closed");
    let topics = [(topic.clone(), SubscribeOptions::default())];
    let closed = Err(BrokerError::Closed);
    assert_eq!(broker.subscribe(&topics).await, closed);
    assert_eq!(broker.unsubscribe(&topic).await, closed);
    let settings = TopicSettings::default();
    assert_eq!(
        broker.configure_topic(&topic, &settings, TopicStrategy::CreateOnly).await,
        Err(BrokerError::Closed)
    );
    assert_eq!(broker.topic_settings(&topic).await, Err(BrokerError::Closed));
    assert!(broker.next_event().await.is_none());
    broker.stop_reading().await;
}

/// Every publish during a close gets an answer.
pub async fn b2_closing_while_publishing_does_not_hang<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let (broker, topic) = (member.clone(), topic.clone());
            tokio::spawn(async move {
                let mut stored = 0;
                loop {
                    match broker
                        .publish(&topic, vec![record(&format!("k{publisher}"), "x")])
                        .get()
                        .await
                        .pop()
                    {
                        Some(Ok(_)) => stored += 1,
                        Some(Err(PublishError::Closed)) => return stored,
                        other => panic!("unexpected answer {other:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    publish(&member, &topic, vec![record("k", "x")]).await;
    harness.feed(member).close().await;
    for publisher in publishers {
        let _stored: usize = publisher.await.expect("no panic");
    }
}

/// Reading ends first, and open messages are still settled.
pub async fn b9_settlements_count_after_reading_has_stopped<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    feed.until_assigned(harness.sources()).await;
    publish(&feed.broker, &topic, (0..4).map(|n| record("k", n.to_string())).collect()).await;
    let got = feed.take(3).await;
    let broker = feed.broker.clone();
    let (_, ()) = tokio::join!(broker.stop_reading(), feed.until_assigned(0));
    settle(got);
    feed.close().await;
    let mut next = harness.reader("g", &topic).await;
    let got = next.take(1).await;
    assert_eq!(bodies(&got), ["3"]);
    settle(got);
    next.close().await;
}

/// A close waits for open messages up to its deadline.
pub async fn b9_closing_waits_for_open_messages<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    publish(&feed.broker, &topic, vec![record("k", "0")]).await;
    let got = feed.take(1).await;
    let (broker, patience) = (feed.broker.clone(), harness.can.patience);
    let closing = tokio::spawn(async move { broker.close(patience).await });
    feed.until("the end of the intakes", |feed| feed.intakes.is_empty() && feed.closed).await;
    assert!(!closing.is_finished(), "a message is open");
    settle(got);
    assert_eq!(closing.await.expect("no panic"), Ok(()));
}

/// A waiting reader is woken.
pub async fn b9_closing_ends_intakes_and_events<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    feed.until_assigned(harness.sources()).await;
    let broker = feed.broker.clone();
    let (closed, ()) = tokio::join!(
        broker.close(harness.can.patience),
        feed.until("the end of all", |feed| feed.intakes.is_empty() && feed.closed)
    );
    assert_eq!(closed, Ok(()));
    assert_eq!(feed.ended.len(), harness.sources());
}

/// Messages that are open at the deadline are delivered again.
pub async fn b9_what_is_open_at_the_deadline_comes_again<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    publish(&feed.broker, &topic, vec![record("k", "0"), record("k", "1")]).await;
    let mut got = feed.take(2).await;
    let stuck = got.remove(0);
    settle(got);
    let begin = tokio::time::Instant::now();
    let closed = feed.broker.close(Duration::from_millis(50)).await;
    assert!(matches!(closed, Err(BrokerError::Timeout { .. })), "{closed:?}");
    assert!(begin.elapsed() >= Duration::from_millis(50));
    let mut next = harness.reader("g", &topic).await;
    let got = next.take(1).await;
    assert_eq!(bodies(&got), ["0"]);
    settle(got);
    drop(stuck);
    next.close().await;
}
