//! Each scripted fault happens as and where it was scripted, and has no other effect.

use buslane_core::{Broker, BrokerEvent, PublishError, Topic};
use buslane_memory::{MemberOptions, MemoryBroker};
use buslane_testkit::broker_suite::{Feed, bodies, publish, record, settle};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(10);

fn member(broker: &MemoryBroker) -> Arc<dyn Broker> {
    Arc::new(broker.member(MemberOptions {
        publish_timeout: Duration::from_secs(1),
        ..MemberOptions::new("g")
    }))
}

async fn reader(broker: &MemoryBroker) -> (Feed, Topic) {
    let topic = Topic::new("orders").expect("a valid name");
    let feed = Feed::new(member(broker), PATIENCE);
    feed.subscribe(&topic).await;
    (feed, topic)
}

async fn numbers(feed: &Feed, topic: &Topic, numbers: std::ops::Range<u32>) {
    publish(&feed.broker, topic, numbers.map(|n| record("k", n.to_string())).collect()).await;
}

#[tokio::test]
async fn m2_a_lost_ack_delivers_the_message_again() {
    let broker = MemoryBroker::default();
    let (mut feed, topic) = reader(&broker).await;
    broker.faults().lose_ack(&topic, 2);
    numbers(&feed, &topic, 0..4).await;
    settle(feed.take(4).await);
    let again = feed.take(1).await;
    assert_eq!(bodies(&again), ["1"]);
    assert_eq!(
        broker.positions("g", "orders").iter().map(|position| position.open).sum::<u64>(),
        1
    );
    settle(again);
    assert_eq!(broker.lag("g", "orders"), 0);
}

#[tokio::test]
async fn m2_a_duplicate_comes_right_behind_its_original() {
    let broker = MemoryBroker::default();
    let (mut feed, topic) = reader(&broker).await;
    broker.faults().duplicate(&topic, 2);
    numbers(&feed, &topic, 0..3).await;
    let mut got = feed.take(2).await;
    got.extend(feed.take(2).await);
    assert_eq!(bodies(&got), ["0", "1", "1", "2"], "also across two reads");
    assert_eq!(got[1].message.offset, got[2].message.offset);
    // Giving the copy back changes nothing, settling the original is enough.
    drop(got.remove(2));
    settle(got);
    assert_eq!(broker.lag("g", "orders"), 0);
}

#[tokio::test(start_paused = true)]
async fn m2_a_delay_holds_deliveries_for_its_time() {
    let broker = MemoryBroker::default();
    let (mut feed, topic) = reader(&broker).await;
    let begin = Instant::now();
    broker.faults().delay(&topic, Duration::from_secs(3));
    numbers(&feed, &topic, 0..2).await;
    settle(feed.take(2).await);
    assert!((3_000..3_010).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    numbers(&feed, &topic, 2..3).await;
    settle(feed.take(1).await);
    assert!(begin.elapsed().as_millis() < 3_010, "only once");
}

#[tokio::test(start_paused = true)]
async fn m2_a_delay_does_not_hide_the_end_of_an_intake() {
    let broker = MemoryBroker::default();
    let (mut feed, topic) = reader(&broker).await;
    feed.until_assigned(8).await;
    broker.faults().delay(&topic, Duration::from_secs(3_600));
    let mut out = Vec::new();
    let mut intake = feed.intakes.remove(0);
    assert!(poll_fn(|cx| Poll::Ready(intake.poll_next(cx, 1, &mut out))).await.is_pending());
    let begin = Instant::now();
    let (_, end) =
        tokio::join!(feed.broker.stop_reading(), poll_fn(|cx| intake.poll_next(cx, 1, &mut out)));
    assert_eq!((end, begin.elapsed()), (None, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn m2_a_cut_connection_stops_everything_until_it_is_back() {
    let broker = MemoryBroker::default();
    let (mut feed, topic) = reader(&broker).await;
    feed.until_assigned(8).await;
    numbers(&feed, &topic, 0..1).await;
    broker.faults().disconnect("cable");
    broker.faults().disconnect("cable again");
    match feed.broker.next_event().await {
        Some(BrokerEvent::Disconnected { reason }) => assert_eq!(reason, "cable"),
        other => panic!("{other:?}"),
    }
    let mut out = Vec::new();
    for intake in &mut feed.intakes {
        assert!(poll_fn(|cx| Poll::Ready(intake.poll_next(cx, 1, &mut out))).await.is_pending());
    }
    let begin = Instant::now();
    let answers = feed.broker.publish(&topic, vec![record("k", "lost")]).get().await;
    assert_eq!(answers, [Err(PublishError::Unreachable { reason: "cable".to_owned() })]);
    assert_eq!(begin.elapsed(), Duration::from_secs(1), "after the publish timeout");

    let sender = Arc::clone(&feed.broker);
    let back = async {
        tokio::task::yield_now().await;
        broker.faults().reconnect();
    };
    let ((), stored, got) = tokio::join!(back, numbers_of(&sender, &topic), feed.take(2));
    assert_eq!((stored, bodies(&got)), (1, vec!["0".to_owned(), "1".to_owned()]));
    settle(got);
}

async fn numbers_of(broker: &Arc<dyn Broker>, topic: &Topic) -> usize {
    publish(broker, topic, vec![record("k", "1")]).await.len()
}

#[tokio::test]
async fn m2_each_member_is_told_of_a_cut_and_a_return() {
    let broker = MemoryBroker::default();
    let early = member(&broker);
    broker.faults().disconnect("cable");
    let late = member(&broker);
    broker.faults().reconnect();
    broker.faults().reconnect();
    for member in [early, late] {
        assert!(matches!(member.next_event().await, Some(BrokerEvent::Disconnected { .. })));
        assert!(matches!(member.next_event().await, Some(BrokerEvent::Reconnected)));
        let mut next = member.next_event();
        assert!(poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await.is_pending());
    }
}

#[tokio::test]
async fn m2_a_rebalance_gives_every_partition_anew() {
    let broker = MemoryBroker::default();
    let (mut feed, topic) = reader(&broker).await;
    feed.until_assigned(8).await;
    numbers(&feed, &topic, 0..3).await;
    let mut got = feed.take(2).await;
    broker.faults().rebalance("g");
    feed.until("seven of eight", |feed| feed.ended.len() == 8 && feed.intakes.len() == 7).await;
    settle(got.drain(..1));
    drop(got);
    let again = feed.take(2).await;
    assert_eq!(
        bodies(&again),
        ["1", "2"],
        "what was done does not run again, what was given back does"
    );
    assert_eq!(feed.intakes.len(), 8);
    settle(again);
    assert_eq!(broker.lag("g", "orders"), 0);
}

#[tokio::test]
async fn m2_a_rebalance_moves_partitions_between_members() {
    let broker = MemoryBroker::default();
    let (mut one, topic) = reader(&broker).await;
    let (mut two, _) = reader(&broker).await;
    let owned = |feed: &Feed| {
        let mut partitions: Vec<u32> =
            feed.intakes.iter().map(|intake| intake.source().partition).collect();
        partitions.sort_unstable();
        partitions
    };
    tokio::join!(one.until_assigned(4), two.until_assigned(4));
    let before = (owned(&one), owned(&two));
    broker.faults().rebalance("g");
    let moved = |feed: &Feed| feed.ended.len() >= 4 && feed.intakes.len() == 4;
    tokio::join!(one.until("new ones", moved), two.until("new ones", moved));
    assert_eq!((owned(&two), owned(&one)), before);
    numbers(&one, &topic, 0..1).await;
}

#[tokio::test]
async fn m2_a_topic_that_refuses_says_why_and_accepts_again() {
    let broker = MemoryBroker::default();
    let (feed, topic) = reader(&broker).await;
    broker.faults().refuse_publish(&topic, "disk full");
    let answers = feed.broker.publish(&topic, vec![record("k", "0")]).get().await;
    assert_eq!(
        answers,
        [Err(PublishError::Refused { topic: topic.clone(), reason: "disk full".to_owned() })]
    );
    let error = feed.broker.ensure_topic(&topic).await.unwrap_err().to_string();
    assert!(error.contains(topic.as_str()) && error.contains("disk full"), "{error}");
    let other = Topic::new("other").unwrap();
    numbers(&feed, &other, 0..1).await;
    broker.faults().accept_publish(&topic);
    assert_eq!(feed.broker.ensure_topic(&topic).await, Ok(()));
    numbers(&feed, &topic, 0..1).await;
}
