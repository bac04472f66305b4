//! Commits on a real broker, and what the next member reads after them.

use super::kit;
use buslane_core::Topic;
use buslane_testkit::{
    broker_suite::{Feed, bodies, publish, record, settle},
    server::unique,
};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminOptions, AlterConfig, ResourceSpecifier},
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use std::{sync::Arc, time::Duration};

/// The next member gets exactly `expected`, and then a record that is published last.
async fn next_member_gets(group: &str, topic: &Topic, expected: &[String]) {
    let mut next = kit::member(kit::config(group), topic).await;
    publish(&next.broker, topic, vec![record("k", "the last")]).await;
    let got = next.take(expected.len() + 1).await;
    let (last, others) = (bodies(&got), expected);
    assert_eq!(last[..others.len()], *others);
    assert_eq!(last[others.len()], "the last");
    settle(got);
    next.close().await;
}

/// Closes a member with open messages, which are given back after the close has begun.
async fn close_and_give_back<T>(mut member: Feed, open: T) {
    let broker = Arc::clone(&member.broker);
    let leaving = tokio::spawn(async move { broker.close(kit::PATIENCE).await });
    member.until("the end of the intakes", |feed| feed.closed && feed.intakes.is_empty()).await;
    drop(open);
    assert_eq!(leaving.await.expect("no panic"), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_the_next_member_gets_only_what_was_open_below_999_done_ones() {
    let (topic, group) = (kit::topic("done-above", 1, &[]).await, unique("g"));
    let mut member = kit::member(kit::config(&group), &topic).await;
    publish(&member.broker, &topic, kit::numbers(0..1_000)).await;
    let mut got = member.take(1_000).await;
    let first = got.remove(0);
    assert_eq!(first.message.offset, 0);
    settle(got);
    close_and_give_back(member, first).await;
    assert_eq!(kit::committed(&group, &topic), Some(0));
    next_member_gets(&group, &topic, &kit::texts(0..1)).await;
    assert_eq!(kit::committed(&group, &topic), Some(1_001));
}

/// The interval alone and the count alone each cause a commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_commits_are_made_after_so_many_completions_and_after_so_much_time() {
    for (interval, every) in
        [(Duration::from_hours(1), 100), (Duration::from_millis(100), u64::MAX)]
    {
        let (topic, group) = (kit::topic("commits", 1, &[]).await, unique("g"));
        let mut config = kit::config(&group);
        config.consumer.commit_interval = interval;
        config.consumer.commit_every = every;
        let mut member = kit::member(config, &topic).await;
        publish(&member.broker, &topic, kit::numbers(0..150)).await;
        let open = {
            let mut got = member.take(150).await;
            let open = got.split_off(100);
            settle(got);
            open
        };
        kit::until_committed(&group, &topic, 100);
        assert_eq!(kit::committed(&group, &topic), Some(100), "the others are open");
        settle(open);
        member.close().await;
        assert_eq!(kit::committed(&group, &topic), Some(150));
    }
}

/// A commit holds the offsets that are done above a gap, as many as its metadata may name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_commit_metadata_is_as_long_as_configured() {
    for (metadata_limit, is_written) in [(4_096, true), (0, false)] {
        let (topic, group) = (kit::topic("limits", 1, &[]).await, unique("g"));
        let mut config = kit::config(&group);
        config.consumer.metadata_limit = metadata_limit;
        let mut member = kit::member(config, &topic).await;
        publish(&member.broker, &topic, kit::numbers(0..3)).await;
        let mut got = member.take(3).await;
        let open = got.remove(1);
        settle(got);
        close_and_give_back(member, open).await;
        assert_eq!(kit::committed(&group, &topic), Some(1));
        assert_eq!(kit::committed_metadata(&group, &topic).is_empty(), !is_written);
        let again = if is_written { kit::texts(1..2) } else { kit::texts(1..3) };
        next_member_gets(&group, &topic, &again).await;
    }
}

/// Commit metadata of other programs is understood or ignored, and no message is lost in either
/// case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_foreign_commit_metadata_is_understood_or_ignored() {
    let topic = kit::topic("metadata", 1, &[]).await;
    let writer = kit::connect(kit::config(&unique("g"))).await;
    publish(&writer.broker, &topic, kit::numbers(0..110)).await;
    let everything = kit::texts(100..110);
    let without_gaps: Vec<String> = [kit::texts(100..102), kit::texts(105..110)].concat();
    // Golden vectors of buslane-offsets: 100 and 101 are open, 102 to 104 are done.
    let understood = [
        "bAAFHAA=",
        "YSi1L/0AWCEAAAAFHAA=",
        "bgACAAM=",
        "Sii1L/0AWCEAAAACAAM=",
        "bwAAAAUcAA==",
        "cyi1L/0AWDEAAAAAAAUcAA==",
        "ZQAAAAIAAAAD",
        "cCi1L/0AWEEAAAAAAAIAAAAD",
    ];
    let ignored = [
        "",
        "hello",
        "bwAAAA==",
        "bgACAA==",
        "//////////8=",
        "{\"host\":\"worker-1\"}",
        "\u{1f68c} §",
    ];
    for (metadata, expected) in understood
        .map(|text| (text, &without_gaps))
        .into_iter()
        .chain(ignored.map(|text| (text, &everything)))
    {
        let group = unique("g");
        commit_as_a_stranger(&group, &topic, 100, metadata);
        let mut member = kit::member(kit::config(&group), &topic).await;
        let got = member.take(expected.len()).await;
        assert_eq!(bodies(&got), *expected, "metadata {metadata:?}");
        settle(got);
        member.close().await;
        assert_eq!(kit::committed(&group, &topic), Some(110), "metadata {metadata:?}");
    }
    writer.close().await;
}

fn commit_as_a_stranger(group: &str, topic: &Topic, offset: i64, metadata: &str) {
    let client: BaseConsumer = kit::foreign(&[("group.id", group)]);
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, 0);
    element.set_offset(Offset::Offset(offset)).expect("an offset");
    element.set_metadata(metadata);
    client.commit(&list, CommitMode::Sync).expect("a commit");
}

const KEYS: usize = 21;
const ROUNDS: usize = 150;

/// The next member gets the open messages that compaction has left, and commits to the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_compaction_leaves_gaps_that_stall_nothing() {
    let segments = [("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.01")];
    let (topic, group) = (kit::topic("compacted", 1, &segments).await, unique("g"));
    let count = KEYS * ROUNDS;
    let mut member = kit::member(kit::config(&group), &topic).await;
    let body = "x".repeat(1_024);
    let records = (0..count).map(|n| record(&format!("k{}", n % KEYS), body.clone())).collect();
    publish(&member.broker, &topic, records).await;
    let (open, done): (Vec<_>, Vec<_>) =
        member.take(count).await.into_iter().partition(|delivery| delivery.message.offset % 2 == 0);
    settle(done);
    close_and_give_back(member, open).await;
    assert_eq!(kit::committed(&group, &topic), Some(0));

    let mut change =
        AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", "compact");
    for (name, value) in segments {
        change = change.set(name, value);
    }
    let changed = kit::admin().alter_configs([&change], &AdminOptions::new()).await;
    changed.expect("an answer").remove(0).expect("a compacted topic");
    kit::until("a compaction", || kit::stored(&topic).len() < count);

    let mut next = kit::member(kit::config(&group), &topic).await;
    let (mut got, last_open) = (Vec::new(), u64::try_from(count - 2).expect("a number"));
    while got.last() != Some(&last_open) {
        let delivery = next.take(1).await.remove(0);
        got.push(delivery.message.offset);
        settle([delivery]);
    }
    assert!(got.iter().all(|offset| offset % 2 == 0), "what was done does not run again: {got:?}");
    let still_open: Vec<_> = kit::stored(&topic)
        .into_iter()
        .filter_map(|at| u64::try_from(at).ok())
        .filter(|at| at % 2 == 0)
        .collect();
    assert!(still_open.iter().all(|at| got.contains(at)), "{still_open:?} stand, {got:?} came");
    assert!(got.len() < count / 2, "nothing was missing");
    kit::until_committed(&group, &topic, i64::try_from(count).expect("a number"));
    next.close().await;
    next_member_gets(&group, &topic, &[]).await;
}
