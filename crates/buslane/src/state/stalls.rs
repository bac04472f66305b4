//! The partitions that wait for room, by name. Their number is a metric.

use buslane_core::{Job, Source, SubmitError, Topic};
use parking_lot::Mutex;
use std::{collections::BTreeMap, time::Instant};

/// A partition that is not read, because there is no room for its next message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StalledPartition {
    /// Its topic.
    pub topic: Topic,
    /// Its number.
    pub partition: u32,
    /// What is full.
    pub reason: String,
    /// The key of the message that it waits with, escaped and cut, where that key alone has no
    /// room.
    pub key: Option<String>,
}

/// Why a partition waits, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: SubmitError,
    /// The key of its next message, where that key alone has no room.
    pub(crate) key: Option<String>,
    pub(crate) since: Instant,
}

impl Waiting {
    /// Why a source cannot hand `next` to the pool.
    pub(crate) fn new(reason: SubmitError, next: Option<&Job>) -> Self {
        let is_of_key =
            matches!(reason, SubmitError::LaneFull { .. } | SubmitError::ParkedFull { .. });
        let key = next.filter(|_| is_of_key).map(|job| job.message.label_excerpt().to_string());
        Self { reason, key, since: crate::clock::now() }
    }
}

/// The waiting partitions of a bus. Changed only when one begins or ends to wait, never for each
/// message.
#[derive(Default)]
pub(crate) struct Stalls(Mutex<BTreeMap<(Topic, u32), Waiting>>);

impl Stalls {
    /// Notes that a source waits. One that waits already keeps the time of its beginning.
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

    /// All of them, by topic and number.
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

    /// All of them, with the reason and the time of the beginning.
    pub(crate) fn timed(&self) -> Vec<((Topic, u32), Waiting)> {
        self.0.lock().iter().map(|(place, waiting)| (place.clone(), waiting.clone())).collect()
    }
}
