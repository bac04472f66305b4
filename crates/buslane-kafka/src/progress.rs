//! The progress of the group in all partitions: the settlements of this member in its own
//! partitions, and the commits of the group in all others.

use crate::{
    config::{KafkaConfig, OffsetReset},
    consumer::{Position, TopicPartition},
    native::committed,
    producer::Producer,
};
use buslane_core::{Progress, Topic};
use std::collections::HashMap;

/// The progress of the group in the partitions of `topics`. Blocks.
///
/// # Errors
/// Why the brokers did not answer.
pub(crate) fn progress(
    producer: &Producer,
    config: &KafkaConfig,
    topics: &[Topic],
    own: Vec<(TopicPartition, Position)>,
) -> Result<Vec<Progress>, String> {
    let (timeout, client) = (config.request_timeout, producer.client());
    let mut ends = Vec::new();
    for topic in topics {
        let metadata =
            producer.fetch_metadata(topic, timeout).map_err(|error| producer.explain(&error))?;
        let known = metadata.topics().iter().find(|known| known.name() == topic.as_str());
        for partition in known.iter().flat_map(|known| known.partitions()) {
            let marks = client.fetch_watermarks(topic, partition.id(), timeout);
            let (start, end) = marks.map_err(|error| producer.explain(&error))?;
            let Ok(number) = u32::try_from(partition.id()) else { continue };
            ends.push((
                topic,
                number,
                u64::try_from(start).unwrap_or(0),
                u64::try_from(end).unwrap_or(0),
            ));
        }
    }
    let own: HashMap<_, _> =
        own.iter().map(|(at, position)| ((&at.topic, at.partition), position)).collect();
    let others = ends.iter().filter(|(topic, partition, start, end)| {
        start < end && !own.contains_key(&(*topic, *partition))
    });
    let others: Vec<_> = others
        .map(|(topic, partition, ..)| {
            (topic.to_string(), i32::try_from(*partition).unwrap_or(i32::MAX))
        })
        .collect();
    let committed = if others.is_empty() {
        HashMap::new()
    } else {
        committed(client, &config.group, &others, timeout)?
    };
    let begins_at_end = config.consumer.offset_reset == OffsetReset::Latest;
    let progress = |(topic, partition, start, end): (&Topic, u32, u64, u64)| {
        let (settled, open) = match own.get(&(topic, partition)) {
            Some(own) => (own.low, own.open + end.saturating_sub(own.next.max(start))),
            None => {
                let begin = if begins_at_end { end } else { start };
                let number = i32::try_from(partition).unwrap_or(i32::MAX);
                (committed.get(&(topic.to_string(), number)).copied().unwrap_or(begin), u64::MAX)
            }
        };
        // Deleted messages are not open.
        let settled = settled.max(start).min(end);
        Progress { topic: topic.clone(), partition, end, settled, open: open.min(end - settled) }
    };
    Ok(ends.into_iter().map(progress).collect())
}
