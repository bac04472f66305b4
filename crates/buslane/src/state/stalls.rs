//! The partitions that wait for room in the pool, by name. Their number is a metric.

use buslane_core::{Job, Source, SubmitError, Topic};
use parking_lot::Mutex;
use std::{collections::BTreeMap, time::Instant};

/// A partition that is not read because the pool has no room for its next message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StalledPartition {
    /// The topic.
    pub topic: Topic,
    /// The number of the partition.
    pub partition: u32,
    /// What is full.
    pub reason: String,
    /// The key of its next message, escaped and cut, where only that key has no room.
    pub key: Option<String>,
}

/// Why a partition waits, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: SubmitError,
    /// The key of the next message, where only that key has no room.
    pub(crate) key: Option<String>,
    pub(crate) since: Instant,
}

impl Waiting {
    /// Why the pool does not accept `next`.
    pub(crate) fn new(reason: SubmitError, next: Option<&Job>) -> Self {
        let is_of_key =
            matches!(reason, SubmitError::LaneFull { .. } | SubmitError::FailingFull { .. });
        let key = next.filter(|_| is_of_key).map(|job| job.message.label_excerpt().to_string());
        Self { reason, key, since: crate::process::now() }
    }
}

/// The waiting partitions of a bus. Written only when a wait begins or ends, never for each
/// message.
#[derive(Default)]
pub(crate) struct Stalls(Mutex<BTreeMap<(Topic, u32), Waiting>>);

impl Stalls {
    /// Notes that a source waits. A source that waits already keeps its time.
    pub(crate) fn waits(&self, source: &Source, waiting: Waiting) {
        let mut stalls = self.0.lock();
        let known = stalls
            .entry((source.topic.clone(), source.partition))
            .or_insert_with(|| waiting.clone());
        *known = Waiting { since: known.since, ..waiting };
    }

    pub(crate) fn end(&self, source: &Source) {
        self.0.lock().remove(&(source.topic.clone(), source.partition));
    }

    /// All waiting partitions, by topic and number.
    pub(crate) fn all(&self) -> Vec<StalledPartition> {
        let stalls = self.0.lock();
        let named = stalls.iter().map(|((topic, partition), waiting)| StalledPartition {
            topic: topic.clone(),
            partition: *partition,
            reason: waiting.reason.to_string(),
            key: waiting.key.clone(),
        });
        named.collect()
    }

    /// All waiting partitions, each with the reason and the time since when it waits.
    pub(crate) fn timed(&self) -> Vec<((Topic, u32), Waiting)> {
        self.0.lock().iter().map(|(place, waiting)| (place.clone(), waiting.clone())).collect()
    }
}
