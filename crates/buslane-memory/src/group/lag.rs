//! How far a member of a group is behind.

use super::Group;
use crate::{partition::Partition, share::MemberId};
use buslane_core::{Lag, Topic};
use std::time::Duration;

impl Group {
    /// What the partitions of a member hold that is not settled.
    pub(crate) fn lag_of(&self, member: MemberId, now_ms: i64) -> Vec<Lag> {
        let mut lags = Vec::new();
        for (topic, table) in &self.state.lock().topics {
            let partitions = table.topic.partitions();
            let held = table.places.iter().zip(partitions.iter()).filter(|(place, _)| place.owner() == Some(member));
            lags.extend(held.filter_map(|(_, partition)| self.lag_in(topic, partition, now_ms)));
        }
        lags
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
