//! How far a member of a group is behind, and how far the group has come.

use super::Group;
use crate::{partition::Partition, share::MemberId};
use buslane_core::{Lag, Progress, Topic};
use std::time::Duration;

impl Group {
    /// What the partitions of a member hold that is not settled.
    pub(crate) fn lag_of(&self, member: MemberId, now_ms: i64) -> Vec<Lag> {
        let mut lags = Vec::new();
        for (topic, table) in &self.state.lock().topics {
            let partitions = table.topic.partitions();
            let held = table
                .places
                .iter()
                .zip(partitions.iter())
                .filter(|(place, _)| place.owner() == Some(member));
            lags.extend(held.filter_map(|(_, partition)| self.lag_in(topic, partition, now_ms)));
        }
        lags
    }

    /// How far the group has come in all partitions of the topics that it reads.
    pub(crate) fn progress(&self, topics: &[Topic]) -> Vec<Progress> {
        let state = self.state.lock();
        let read = topics.iter().filter_map(|topic| state.topics.get_key_value(topic));
        let mut all = Vec::new();
        for (topic, table) in read {
            for position in
                table.topic.partitions().iter().filter_map(|one| one.position(self.parts.group))
            {
                all.push(Progress {
                    topic: topic.clone(),
                    partition: position.partition,
                    end: position.end,
                    settled: position.committed,
                    open: position.lag() - position.done_ahead,
                });
            }
        }
        all
    }

    fn lag_in(&self, topic: &Topic, partition: &Partition, now_ms: i64) -> Option<Lag> {
        let position = partition.position(self.parts.group)?;
        let oldest = partition.oldest_unsettled(self.parts.group);
        let age = oldest.map(|at| u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0));
        let open = position.lag() - position.done_ahead;
        Some(Lag {
            topic: topic.clone(),
            partition: position.partition,
            messages: position.lag(),
            open,
            unread: Some(open.saturating_sub(position.open)),
            age: age.map(Duration::from_millis),
        })
    }
}
