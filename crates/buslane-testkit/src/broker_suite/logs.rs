//! Logs beside partitions. SPEC: Q1, Q2

use std::sync::Arc;
use std::time::Duration;

use buslane_core::broker::PartitionLog;
use buslane_core::{
    Broker, BrokerError, Headers, Message, Record, Topic, TopicSettings, TopicStrategy,
};

use super::{BrokerFixture, BrokerHarness};
use crate::deadline::within;

async fn log(broker: &Arc<dyn Broker>, topic: &Topic, partition: u32) -> Arc<dyn PartitionLog> {
    let log = Topic::new(&format!("{topic}.log")).expect("a name");
    broker.ensure_log(topic, &log).await.expect("it can be kept");
    broker.log(&log, partition).expect("it is kept")
}

fn entry(number: u32) -> Record {
    let number_text = number.to_string();
    let headers: Headers = [("X-Number", number_text.as_bytes())].into_iter().collect();
    Record::new(format!("body {number}")).with_key(format!("key {number}")).with_headers(headers)
}

/// The next `count` records from a position on.
async fn read(
    patience: Duration,
    log: &Arc<dyn PartitionLog>,
    from: u64,
    count: usize,
) -> Vec<Message> {
    let (mut reader, mut read) = (log.read(from), Vec::new());
    within(patience, "the log", async {
        while read.len() < count {
            // A reader may begin before the log can be read.
            let _ = reader.next(count - read.len(), &mut read).await;
        }
    })
    .await;
    read
}

/// Records are read in the order in which they were appended, with key, headers and body, by any
/// member and from any position. Each partition has its own.
pub async fn q1_a_log_keeps_its_records_in_order<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let (topic, patience) = (harness.topic("orders"), harness.can.patience);
    let (one, other) = (harness.member("g").await, harness.member("h").await);
    let first = log(&one, &topic, 0).await;
    let mut positions = Vec::new();
    for number in 0..20 {
        positions.push(first.append(entry(number)).await.expect("it is stored"));
    }
    assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
    if harness.can.partitions.is_some_and(|count| count > 1) {
        let second = log(&one, &topic, 1).await;
        second.append(entry(99)).await.expect("it is stored");
        let stored = read(patience, &second, 0, 1).await;
        assert_eq!(stored[0].payload, "body 99");
    }
    let seen_by_other = log(&other, &topic, 0).await;
    for (log, from) in [(&first, 0), (&seen_by_other, 7), (&first, 19)] {
        let begin = if from == 0 { 0 } else { positions[from] };
        let stored = read(patience, log, begin, 20 - from).await;
        let found: Vec<_> = stored.iter().map(|message| message.offset).collect();
        assert_eq!(found, positions[from..]);
        for (number, message) in (from..).zip(&stored) {
            let record = entry(u32::try_from(number).expect("a small number"));
            assert_eq!(Record::from(message), record);
        }
    }
    harness.feed(one).close().await;
    harness.feed(other).close().await;
}

/// A reader at the end of a log waits for what comes.
pub async fn q1_a_reader_of_a_log_waits_at_its_end<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let (topic, patience) = (harness.topic("orders"), harness.can.patience);
    let member = harness.member("g").await;
    let log = log(&member, &topic, 0).await;
    log.append(entry(0)).await.expect("it is stored");
    let reading = {
        let log = Arc::clone(&log);
        tokio::spawn(async move { read(patience, &log, 0, 3).await })
    };
    for number in 1..3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        log.append(entry(number)).await.expect("it is stored");
    }
    let stored = reading.await.expect("it reads");
    assert_eq!(stored[2].payload, "body 2");
    drop(log);
    harness.feed(member).close().await;
}

/// What lies below a forgotten position is gone, and positions go on.
pub async fn q2_a_log_forgets_from_below<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let (topic, patience) = (harness.topic("orders"), harness.can.patience);
    let member = harness.member("g").await;
    let log = log(&member, &topic, 0).await;
    let mut positions = Vec::new();
    for number in 0..10 {
        positions.push(log.append(entry(number)).await.expect("it is stored"));
    }
    log.forget(positions[6]).await.expect("it forgets");
    let stored = read(patience, &log, 0, 4).await;
    let found: Vec<_> = stored.iter().map(|message| message.offset).collect();
    assert_eq!(found, positions[6..]);
    let next = log.append(entry(10)).await.expect("it is stored");
    assert!(next > positions[9]);
    drop(log);
    harness.feed(member).close().await;
}

/// A topic that forgets by itself, or has fewer partitions, is no log, and the error names it.
pub async fn q2_a_topic_that_forgets_is_no_log<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let member = harness.member("g").await;
    member.ensure_topic(&topic).await.expect("it is created");
    let partitions = harness.can.partitions;
    let hour = TopicSettings {
        retention: Some(Duration::from_secs(3_600)),
        partitions,
        ..TopicSettings::default()
    };
    let few = TopicSettings { partitions: Some(1), ..TopicSettings::default() };
    for (name, settings, named) in [("hour", hour, "retention"), ("few", few, "partitions")] {
        if named == "partitions" && partitions.is_none_or(|count| count < 2) {
            continue;
        }
        let log = harness.topic(name);
        let made = member.configure_topic(&log, &settings, TopicStrategy::CreateOnly).await;
        made.expect("it is created");
        let error = member.ensure_log(&topic, &log).await.expect_err("it is no log");
        assert!(error.to_string().contains(log.as_str()), "{error}");
        let BrokerError::Setting { setting, .. } = error else { panic!("{error}") };
        assert_eq!(setting, named);
    }
    harness.feed(member).close().await;
}
