//! Records of transactions: aborted records and markers are gaps that stall nothing.

use super::kit;
use buslane_core::{Lag, Progress, Topic};
use buslane_kafka::Isolation;
use buslane_testkit::{
    broker_suite::{bodies, publish, record, settle},
    server::unique,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Ten committed records, ten aborted ones and ten committed ones, each ten followed by a marker.
fn write(topic: &Topic) {
    let producer: BaseProducer = kit::foreign(&[("transactional.id", topic)]);
    producer.init_transactions(kit::PATIENCE).expect("a producer with transactions");
    for (name, commits) in [("a", true), ("x", false), ("b", true)] {
        producer.begin_transaction().expect("a transaction");
        for n in 0..10 {
            let body = format!("{name}{n}");
            producer
                .send(BaseRecord::to(topic).key("k").payload(&body))
                .expect("room in the queue");
        }
        producer.flush(kit::PATIENCE).expect("records are stored");
        if commits {
            producer.commit_transaction(kit::PATIENCE).expect("a commit");
        } else {
            producer.abort_transaction(kit::PATIENCE).expect("an end");
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| (0..10).map(move |n| format!("{name}{n}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_aborted_records_and_markers_stall_no_commit() {
    let (topic, group) = (kit::topic("transactions", 1, &[]).await, unique("g"));
    write(&topic);
    let mut member = kit::member(kit::config(&group), &topic).await;
    let got = member.take(20).await;
    assert_eq!(bodies(&got), names(&["a", "b"]));
    settle(got);
    kit::until_committed(&group, &topic, 32);
    member.close().await;
    let mut next = kit::member(kit::config(&group), &topic).await;
    publish(&next.broker, &topic, vec![record("k", "the last")]).await;
    let got = next.take(1).await;
    assert_eq!(bodies(&got), ["the last"]);
    settle(got);
    next.close().await;
}

/// A bus waits for the age of a backlog before it begins. A marker never arrives and has no age, so
/// it must not count as backlog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_a_group_before_a_last_marker_is_not_behind() {
    let (topic, group) = (kit::topic("marker", 1, &[]).await, unique("g"));
    write(&topic);
    let mut member = kit::member(kit::config(&group), &topic).await;
    settle(member.take(20).await);
    kit::until_committed(&group, &topic, 32);
    member.close().await;
    let mut next = kit::member(kit::config(&group), &topic).await;
    next.until("an assignment", |feed| !feed.intakes.is_empty()).await;
    let deadline = Instant::now() + kit::PATIENCE;
    loop {
        let lags = next.broker.lag().await.expect("an answer");
        if let [Lag { messages: 0, open: 0, age: None, .. }] = lags[..] {
            break;
        }
        assert!(Instant::now() < deadline, "still behind: {lags:?}");
        sleep(Duration::from_millis(10)).await;
    }
    let progress = next.broker.progress(&[topic]).await.expect("an answer");
    assert!(
        matches!(progress[..], [Progress { settled: 33, open: 0, end: 33, .. }]),
        "{progress:?}"
    );
    next.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_aborted_records_are_read_where_that_is_wanted() {
    let topic = kit::topic("uncommitted", 1, &[]).await;
    write(&topic);
    let mut config = kit::config(&unique("g"));
    config.consumer.isolation = Isolation::ReadUncommitted;
    let mut member = kit::member(config, &topic).await;
    let got = member.take(30).await;
    assert_eq!(bodies(&got), names(&["a", "x", "b"]));
    settle(got);
    member.close().await;
}
