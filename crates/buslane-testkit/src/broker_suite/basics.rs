//! Publishing and receiving.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use buslane_core::{Headers, PublishError, Record, Topic, partition_for};

use super::{BrokerFixture, BrokerHarness, Feed, bodies, publish, record, settle};

/// The key, the headers in order with duplicates, and every byte of the body arrive.
pub async fn e6_key_headers_and_bytes_arrive_exactly<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    let headers: Headers =
        [("X-A", &b"1"[..]), ("X-B", b"\xff\0"), ("X-A", b"2")].into_iter().collect();
    let body: Vec<u8> = (0..=255).collect();
    let sent = Record::new(body).with_key("order-42").with_headers(headers);
    publish(&feed.broker, &topic, vec![sent.clone()]).await;
    let got = feed.take(1).await;
    let message = &got[0].message;
    assert_eq!(
        (&message.key, &message.headers, &message.payload),
        (&sent.key, &sent.headers, &sent.payload)
    );
    assert!(
        message.timestamp_ms > 1_600_000_000_000,
        "stamped in milliseconds: {}",
        message.timestamp_ms
    );
    settle(got);
    feed.close().await;
}

/// A receipt names the offset and the partition at which a reader finds the record.
pub async fn e6_offsets_and_partitions_are_those_of_the_receipts<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    let records = (0..40).map(|n| record(&format!("k{}", n % 7), n.to_string())).collect();
    let receipts = publish(&feed.broker, &topic, records).await;
    let got = feed.take(40).await;
    for delivery in &got {
        let n: usize = bodies(std::slice::from_ref(delivery))[0].parse().expect("a number");
        let (receipt, message) = (&receipts[n], &delivery.message);
        assert_eq!((&receipt.topic, message.topic()), (&topic, &topic));
        assert_eq!((receipt.partition, receipt.offset), (message.partition(), message.offset));
        assert!(!receipt.duplicate);
    }
    settle(got);
    feed.close().await;
}

/// An empty payload and one of 1 MiB arrive.
pub async fn b1_empty_and_large_payloads_arrive<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    let large: Vec<u8> = (0..1_u32 << 20).map(|n| n.to_le_bytes()[0]).collect();
    let records = vec![Record::new("").with_key("k"), Record::new(large.clone()).with_key("k")];
    publish(&feed.broker, &topic, records).await;
    let got = feed.take(2).await;
    assert!(got[0].message.payload.is_empty());
    assert!(got[1].message.payload == large, "1 MiB arrives byte by byte");
    settle(got);
    feed.close().await;
}

/// A group that subscribes after the publish reads the message.
pub async fn b1_publishing_without_a_subscriber_succeeds<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    publish(&member, &topic, vec![record("k", "early")]).await;
    let mut feed = harness.feed(member);
    feed.subscribe(&topic).await;
    let got = feed.take(1).await;
    assert_eq!(bodies(&got), ["early"]);
    settle(got);
    feed.close().await;
}

/// An empty batch returns at once and without receipts.
pub async fn b1_an_empty_batch_is_published_at_once<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let member = harness.member("g").await;
    assert_eq!(publish(&member, &harness.topic("orders"), Vec::new()).await, []);
    harness.feed(member).close().await;
}

/// Ten concurrent publishers of one member publish two hundred messages each.
pub async fn b1_concurrent_publishers_reach_the_reader_exactly_once<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    let publishers: Vec<_> = (0..10)
        .map(|publisher| {
            let (broker, topic) = (Arc::clone(&feed.broker), topic.clone());
            tokio::spawn(async move {
                for batch in 0..20 {
                    let body = |n| format!("{publisher}-{:03}", batch * 10 + n);
                    let records =
                        (0..10).map(|n| record(&format!("k{publisher}"), body(n))).collect();
                    publish(&broker, &topic, records).await;
                }
            })
        })
        .collect();
    let got = feed.take(2_000).await;
    for publisher in publishers {
        publisher.await.expect("a publisher ends well");
    }
    let mut seen = bodies(&got);
    let by_publisher = |publisher: usize| -> Vec<String> {
        let prefix = format!("{publisher}-");
        seen.iter().filter(|body| body.starts_with(&prefix)).cloned().collect()
    };
    for publisher in 0..10 {
        let mine = by_publisher(publisher);
        assert!(mine.is_sorted(), "publisher {publisher} is in order: {mine:?}");
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2_000, "each message came once");
    settle(got);
    feed.close().await;
}

/// A key goes to the partition that Go and librdkafka producers choose.
pub async fn e4_a_key_chooses_its_partition_by_fnv1a<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let partitions =
        harness.can.partitions.expect("list this scenario as unmet where there are no partitions");
    let topic = harness.topic("orders");
    let feed = harness.reader("g", &topic).await;
    let keys: Vec<String> = (0..50).map(|n| format!("order-{n}")).collect();
    let receipts =
        publish(&feed.broker, &topic, keys.iter().map(|key| record(key, "x")).collect()).await;
    for (key, receipt) in keys.iter().zip(receipts) {
        assert_eq!(receipt.partition, partition_for(key.as_bytes(), partitions), "{key}");
    }
    feed.close().await;
}

/// Records without a key spread over the partitions, and all arrive.
pub async fn r2_records_without_a_key_spread_and_all_arrive<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    let receipts =
        publish(&feed.broker, &topic, (0..64).map(|n| Record::new(n.to_string())).collect()).await;
    if harness.can.partitions.is_some_and(|count| count > 1) {
        assert!(
            receipts.iter().any(|receipt| receipt.partition != receipts[0].partition),
            "more than one partition"
        );
    }
    let got = feed.take(64).await;
    let mut seen: Vec<u32> =
        bodies(&got).iter().map(|body| body.parse().expect("a number")).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..64).collect::<Vec<_>>());
    settle(got);
    feed.close().await;
}

/// Consecutive batches of mixed keys keep the order of each key.
pub async fn r3_batches_keep_the_order_of_each_key<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    for batch in 0..10 {
        let records = (0..50)
            .map(|n| record(&format!("k{}", n % 13), (batch * 50 + n).to_string()))
            .collect();
        publish(&feed.broker, &topic, records).await;
    }
    let got = feed.take(500).await;
    let mut last: BTreeMap<_, usize> = BTreeMap::new();
    for (delivery, body) in got.iter().zip(bodies(&got)) {
        let n = body.parse().expect("a number");
        let before = last.insert(delivery.message.key.clone(), n);
        assert!(before.is_none_or(|before| before < n), "{before:?} came before {n}");
    }
    settle(got);
    feed.close().await;
}

/// Finds two keys in different partitions. Returns them and the partition of the first.
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

/// A partition whose intake is not polled does not delay the others.
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

/// `poll_end` reports the end of an intake whose deliveries were never polled.
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

/// Fills the partition of key `k` to its capacity, so that the next publish of that key waits.
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
    // Freed capacity admits the next record. The record that timed out was not stored.
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

/// A cancelled publish does not delay the publishes that wait behind it.
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
