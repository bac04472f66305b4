//! Subscriptions and the rebalances that they cause.

use super::kit;
use buslane_core::{SubscribeOptions, Topic};
use buslane_kafka::{Assignment, KafkaConfig};
use buslane_testkit::{
    broker_suite::{Feed, publish, record, settle},
    server::unique,
};
use rdkafka::{
    admin::AdminOptions,
    consumer::{BaseConsumer, Consumer},
};
use std::collections::BTreeSet;

const TOPICS: usize = 20;

fn config(assignment: Assignment) -> KafkaConfig {
    let mut config = kit::config(&unique("g"));
    config.consumer.assignment = assignment;
    config
}

async fn topics(count: usize) -> Vec<Topic> {
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(kit::topic("many", 1, &[]).await);
    }
    topics
}

/// Reads a new record of each topic, so that no rebalance is in progress. A starved member loses
/// its partitions for a while and reads older records again, which does not count.
async fn all_are_read(member: &mut Feed, topics: &[Topic]) {
    let body = unique("hello");
    for topic in topics {
        publish(&member.broker, topic, vec![record("k", &body)]).await;
    }
    let mut missing: BTreeSet<_> = topics.iter().cloned().collect();
    while !missing.is_empty() {
        let got = member.take(1).await;
        let message = &got[0].message;
        if message.payload == body.as_bytes() {
            missing.remove(message.topic());
        }
        settle(got);
    }
}

/// The number of tries in which a starved machine may cause rebalances of its own. Those that the
/// adapter causes happen in each.
const TRIES: usize = 3;

/// How many intakes of a first member, and of the member itself, end when a member subscribes to
/// twenty topics in one call.
async fn ended_by_twenty_topics(assignment: Assignment) -> (usize, usize) {
    let (own, topics) = (topics(1).await, topics(TOPICS).await);
    let config = config(assignment);
    let mut first = kit::member(config.clone(), &own[0]).await;
    first.until_assigned(1).await;
    let mut member = kit::connect(config).await;
    let wanted: Vec<_> =
        topics.iter().map(|topic| (topic.clone(), SubscribeOptions::default())).collect();
    member.broker.subscribe(&wanted).await.expect("topics that exist");
    member.until_assigned(TOPICS).await;
    all_are_read(&mut member, &topics).await;
    all_are_read(&mut first, &own).await;
    let ended = (first.ended.len(), member.ended.len());
    member.close().await;
    first.close().await;
    ended
}

/// With the eager protocol each rebalance ends the intakes of all members, so the first member can
/// count rebalances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_twenty_topics_in_one_call_are_one_change_of_membership() {
    for (assignment, changes) in
        [(Assignment::Range, 1), (Assignment::CooperativeSticky, 0), (Assignment::Broker, 0)]
    {
        let mut found = Vec::new();
        while !found.contains(&(changes, 0)) {
            assert!(found.len() < TRIES, "{assignment:?}: {found:?}");
            found.push(ended_by_twenty_topics(assignment).await);
        }
    }
}

/// How many intakes end while topics are added one by one.
async fn ended_by_later_topics(assignment: Assignment) -> usize {
    let topics = topics(6).await;
    let mut member = kit::connect(config(assignment)).await;
    for (at, topic) in topics.iter().enumerate() {
        member.subscribe(topic).await;
        member.until_assigned(at + 1).await;
        all_are_read(&mut member, &topics[..=at]).await;
    }
    let ended = member.ended.len();
    member.close().await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_topic_that_is_added_later_ends_no_intake() {
    for assignment in [Assignment::CooperativeSticky, Assignment::Broker] {
        let mut found = Vec::new();
        while !found.contains(&0) {
            assert!(found.len() < TRIES, "{assignment:?}: {found:?} intakes ended");
            found.push(ended_by_later_topics(assignment).await);
        }
    }
}

/// A client merges the removal and the return of a topic within one rebalance into no change:
/// without a workaround nothing would read its partitions again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_topic_that_goes_and_comes_back_in_one_rebalance_is_read() {
    for assignment in [Assignment::Range, Assignment::CooperativeSticky, Assignment::Broker] {
        let topics = topics(3).await;
        let [other, back, _] = &topics[..] else { unreachable!("there are three") };
        let mut member = kit::connect(config(assignment)).await;
        let wanted: Vec<_> =
            topics.iter().map(|topic| (topic.clone(), SubscribeOptions::default())).collect();
        member.broker.subscribe(&wanted).await.expect("topics that exist");
        all_are_read(&mut member, &topics).await;
        for _ in 0..3 {
            let broker = &member.broker;
            // Polled in this order; none of them waits for the group.
            let (first, second, third, fourth) = tokio::join!(
                broker.unsubscribe(other),
                broker.unsubscribe(back),
                broker.subscribe(&wanted[1..2]),
                broker.subscribe(&wanted[..1]),
            );
            first.and(second).and(third).and(fourth).expect("each is taken");
            all_are_read(&mut member, &topics).await;
        }
        member.close().await;
    }
}

/// A topic without metadata aborts the whole process while a client joins a group that it had left:
/// an assertion of librdkafka. With broker-side assignment, a client that leaves during a
/// revocation never reads again, or fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_member_that_read_nothing_joins_with_topics_one_by_one() {
    let group: BaseConsumer = kit::foreign(&[]);
    for assignment in [Assignment::Range, Assignment::CooperativeSticky, Assignment::Broker] {
        let config = config(assignment);
        let name = config.group.clone();
        let mut member = kit::connect(config).await;
        for topics in topics(9).await.chunks(3) {
            let [first, second, third] = topics else { unreachable!("there are three") };
            let broker = &member.broker;
            let new = |topic: &Topic| [(topic.clone(), SubscribeOptions::default())];
            let (one, two, three) = (new(first), new(second), new(third));
            // Polled in this order: the second and the third come during the lookup of the first.
            let told = tokio::join!(
                broker.subscribe(&one),
                broker.subscribe(&two),
                broker.subscribe(&three)
            );
            told.0.and(told.1).and(told.2).expect("each is taken");
            all_are_read(&mut member, topics).await;
            for topic in topics {
                member.broker.unsubscribe(topic).await.expect("it is read");
            }
            if assignment != Assignment::Broker {
                kit::until("it has left its group", || {
                    let groups =
                        group.fetch_group_list(Some(&name), kit::PATIENCE).expect("an answer");
                    groups.groups().iter().all(|group| group.members().is_empty())
                });
            }
        }
        member.close().await;
    }
}

/// Whether it leaves the group or stays in it without a topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_a_member_that_reads_nothing_keeps_no_partition() {
    for assignment in [Assignment::Range, Assignment::CooperativeSticky, Assignment::Broker] {
        let topic = kit::topic("shared", 2, &[]).await;
        let config = config(assignment);
        let mut stays = kit::member(config.clone(), &topic).await;
        let mut goes = kit::member(config, &topic).await;
        for round in 0..3 {
            goes.until_assigned(1).await;
            goes.broker.unsubscribe(&topic).await.expect("it is read");
            goes.until_assigned(0).await;
            let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
            publish(&goes.broker, &topic, keys.map(|key| record(key, format!("{round}"))).to_vec())
                .await;
            let mut read = BTreeSet::new();
            while read.len() < keys.len() {
                // Settled one by one: messages that are open during a rebalance are delivered
                // twice.
                let got = stays.take(1).await;
                read.extend(
                    got.iter().map(|delivery| {
                        (delivery.message.source.partition, delivery.message.offset)
                    }),
                );
                settle(got);
            }
            let partitions: BTreeSet<_> = read.iter().map(|(partition, _)| *partition).collect();
            assert_eq!(
                partitions.len(),
                2,
                "{assignment:?}: both partitions have some of the keys"
            );
            goes.subscribe(&topic).await;
        }
        goes.until_assigned(1).await;
        goes.close().await;
        stays.close().await;
    }
}

/// Each log line of a client is an event in the queue of its rebalances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_client_that_tells_everything_reads_all_the_same() {
    for assignment in [Assignment::Range, Assignment::CooperativeSticky, Assignment::Broker] {
        let mut config = config(assignment);
        config.properties.insert("debug".to_owned(), "all".into());
        let topics = topics(3).await;
        let mut member = kit::member(config, &topics[0]).await;
        member.subscribe(&topics[1]).await;
        member.subscribe(&topics[2]).await;
        all_are_read(&mut member, &topics).await;
        member.close().await;
    }
}

/// A deleted topic does not delay new ones, and is read again once it is back. With the eager
/// protocol its return would end the other intakes too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_topic_that_was_deleted_holds_up_no_other_and_comes_back() {
    let topics = topics(3).await;
    let [kept, deleted, new] = &topics[..] else { unreachable!("there are three") };
    let mut member = kit::member(config(Assignment::CooperativeSticky), kept).await;
    member.subscribe(deleted).await;
    all_are_read(&mut member, &topics[..2]).await;
    let admin = kit::admin();
    let gone = admin
        .delete_topics(&[deleted], &AdminOptions::new().operation_timeout(Some(kit::PATIENCE)))
        .await;
    gone.expect("an answer").remove(0).expect("it was there");
    kit::until("nobody knows it", || {
        let known = admin.inner().fetch_metadata(Some(deleted), kit::PATIENCE).expect("an answer");
        known.topics().iter().all(|topic| topic.error().is_some())
    });
    member.subscribe(new).await;
    all_are_read(&mut member, &[kept.clone(), new.clone()]).await;
    kit::create(deleted, 1, &[]).await;
    all_are_read(&mut member, &topics).await;
    member.close().await;
}
