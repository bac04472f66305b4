//! The keys and values of the bucket. The key of a member holds the topics that the member reads.
//! The key of a partition holds its owner, or nothing.

use crate::names::token;
use buslane_core::Topic;
use std::collections::BTreeSet;

/// An entry of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A member, and the topics that it reads; `None` after it has left.
    Member(String, Option<BTreeSet<String>>),
    /// The owner of a partition of a topic, by the topic's token.
    Partition(String, u32, Option<String>),
}

pub(super) fn member_key(group: &str, member: &str) -> String {
    format!("{}.m.{member}", token(group))
}

/// The token of a topic. A topic without partitions has an additional `=`, so that its only lease
/// differs from the lease of partition 0.
pub(super) fn topic_token(topic: &Topic, is_partitioned: bool) -> String {
    if is_partitioned { token(topic) } else { token(topic) + "=" }
}

pub(super) fn partition_key(group: &str, topic: &str, partition: u32) -> String {
    format!("{}.p.{topic}.{partition}", token(group))
}

/// All keys of a group.
pub(super) fn all_keys(group: &str) -> String {
    format!("{}.>", token(group))
}

pub(super) fn topics_value(tokens: impl Iterator<Item = String>) -> String {
    tokens.collect::<Vec<_>>().join(" ")
}

/// Reads a key and its value, which is `None` for a deleted key. Returns `None` for foreign keys.
pub(super) fn read(key: &str, value: Option<&str>) -> Option<Entry> {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        [_, "m", member] => {
            let topics = value.map(|value| value.split_whitespace().map(str::to_owned).collect());
            Some(Entry::Member((*member).to_owned(), topics))
        }
        [_, "p", topic, partition] => {
            let owner = value.filter(|owner| !owner.is_empty()).map(str::to_owned);
            Some(Entry::Partition((*topic).to_owned(), partition.parse().ok()?, owner))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n5_keys_are_read_back() {
        let topic = Topic::new("a.b").unwrap();
        let key = partition_key("my.group", &topic_token(&topic, true), 7);
        assert_eq!(
            read(&key, Some("me")),
            Some(Entry::Partition("a=b".to_owned(), 7, Some("me".to_owned())))
        );
        assert_eq!(read(&key, Some("")), Some(Entry::Partition("a=b".to_owned(), 7, None)));
        let value =
            topics_value([topic_token(&topic, true), topic_token(&topic, false)].into_iter());
        let topics = BTreeSet::from(["a=b".to_owned(), "a=b=".to_owned()]);
        let key = member_key("my.group", "me");
        assert_eq!(read(&key, Some(&value)), Some(Entry::Member("me".to_owned(), Some(topics))));
        assert_eq!(read(&key, None), Some(Entry::Member("me".to_owned(), None)));
        assert_eq!(read("other", Some("x")), None);
        assert!(key.starts_with(all_keys("my.group").trim_end_matches('>')));
    }
}
