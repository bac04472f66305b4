//! Stopping and closing.

use std::time::Duration;

use buslane_core::{
    BrokerError, Delivery, Outcome, PublishError, SubscribeOptions, Topic, TopicSettings,
    TopicStrategy,
};

use super::{BrokerFixture, BrokerHarness, Feed, bodies, publish, record, settle};

/// Two consecutive closes and eight concurrent ones get the same answer.
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

/// Every call on a closed broker gets the same error.
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

/// Reading ends first, and settlements of open messages still count.
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

/// Closing a broker wakes a waiting reader.
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

/// Ten messages of one key, taken by a reader of group `g`.
async fn ten<F: BrokerFixture>(harness: &BrokerHarness<F>, topic: &Topic) -> (Feed, Vec<Delivery>) {
    let mut feed = harness.reader("g", topic).await;
    publish(&feed.broker, topic, (0..10).map(|n| record("k", n.to_string())).collect()).await;
    let got = feed.take(10).await;
    assert_eq!(bodies(&got), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    (feed, got)
}

/// The messages that a new member of the group gets before a marker, which is published last.
async fn again<F: BrokerFixture>(harness: &BrokerHarness<F>, topic: &Topic) -> Vec<String> {
    let mut feed = harness.reader("g", topic).await;
    publish(&feed.broker, topic, vec![record("k", "end")]).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "end") {
        let got = feed.take(1).await;
        seen.extend(bodies(&got));
        settle(got);
    }
    feed.close().await;
    seen.pop();
    seen
}

/// After a restart, only open messages are delivered again.
pub async fn d1_only_what_is_open_comes_again_after_a_restart<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, mut got) = ten(&harness, &topic).await;
    drop(got.split_off(6));
    settle(got);
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, ["6", "7", "8", "9"]);
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0], "and then never more");
}

/// A dropped delivery is delivered again within the assignment, without its neighbours.
pub async fn d1_a_message_given_back_comes_again_while_reading_goes_on<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (mut feed, mut got) = ten(&harness, &topic).await;
    let open = got.split_off(5);
    drop(got.remove(3));
    drop(got.remove(1));
    settle(got);
    let back = feed.take(2).await;
    assert_eq!(bodies(&back), ["1", "3"]);
    publish(&feed.broker, &topic, vec![record("k", "new")]).await;
    let new = feed.take(1).await;
    assert_eq!(bodies(&new), ["new"]);
    settle(back.into_iter().chain(open).chain(new));
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0]);
}

/// Failed and panicked deliveries are settled; only an abandoned one is delivered again.
pub async fn d1_a_failed_or_panicked_message_is_over<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let (feed, got) = ten(&harness, &topic).await;
    for (n, delivery) in got.into_iter().enumerate() {
        delivery.settlement.settle(match n % 3 {
            0 => Outcome::Ok,
            1 => Outcome::Failed("no".into()),
            _ => Outcome::Panicked("boom".to_owned()),
        });
    }
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0]);
}

/// The first message stays open while all others are settled: the first is delivered again.
pub async fn d2_a_later_settlement_never_settles_an_earlier_one<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, mut got) = ten(&harness, &topic).await;
    let first = got.remove(0);
    settle(got);
    drop(first);
    feed.close().await;
    assert!(again(&harness, &topic).await.contains(&"0".to_owned()), "the open one is not settled");
}

/// Messages that were settled above an open one are not delivered again.
pub async fn d2_what_is_done_above_a_gap_does_not_run_again<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, got) = ten(&harness, &topic).await;
    let (open, done): (Vec<_>, Vec<_>) = got
        .into_iter()
        .partition(|delivery| matches!(&delivery.message.payload[..], b"0" | b"4" | b"9"));
    settle(done);
    drop(open);
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, ["0", "4", "9"]);
}

/// Deliveries are settled from the last to the first.
pub async fn d2_settling_out_of_order_settles_everything<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, got) = ten(&harness, &topic).await;
    settle(got.into_iter().rev());
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0]);
}
