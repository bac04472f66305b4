//! Which partitions wait for room, by name. Not how many: that is a metric.

use buslane_core::{Source, SubmitError, Topic};
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
    /// What was full when it began to wait.
    pub reason: String,
}

/// Those of a bus. Looked at and changed only when something waits, never for each message.
#[derive(Default)]
pub(crate) struct Stalls(Mutex<BTreeMap<(Topic, u32), (SubmitError, Instant)>>);

impl Stalls {
    pub(crate) fn begin(&self, source: &Source, reason: SubmitError) {
        let since = crate::clock::now();
        self.0.lock().insert((source.topic.clone(), source.partition), (reason, since));
    }

    pub(crate) fn end(&self, source: &Source) {
        self.0.lock().remove(&(source.topic.clone(), source.partition));
    }

    /// All of them, by topic and number.
    pub(crate) fn all(&self) -> Vec<StalledPartition> {
        let stalls = self.0.lock();
        let named = stalls.iter().map(|((topic, partition), (reason, _))| StalledPartition {
            topic: topic.clone(),
            partition: *partition,
            reason: reason.to_string(),
        });
        named.collect()
    }

    /// All of them, with why and since when.
    pub(crate) fn timed(&self) -> Vec<((Topic, u32), SubmitError, Instant)> {
        let stalls = self.0.lock();
        stalls.iter().map(|(place, (reason, since))| (place.clone(), *reason, *since)).collect()
    }
}
