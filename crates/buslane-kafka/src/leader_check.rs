//! Checks with one request whether the brokers answer, and whether the partitions in use have
//! leaders.

use crate::{bootstrap::ANY_TOPIC, producer::Producer};
use buslane_core::{SymptomKind, Symptoms, Topic};
use parking_lot::Mutex;
use rdkafka::metadata::MetadataPartition;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// The longest wait for an answer, because a shutdown does not wait for the blocking thread.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The number of calls that check each topic once.
const CALLS_PER_ROUND: usize = 4;

/// The topics of a member, in the order of their next check.
pub(crate) struct LeaderCheck {
    topics: Mutex<VecDeque<Topic>>,
    symptoms: Arc<Symptoms>,
    timeout: Duration,
}

impl LeaderCheck {
    pub(crate) fn new(symptoms: &Arc<Symptoms>, request_timeout: Duration) -> Self {
        Self {
            topics: Mutex::default(),
            symptoms: Arc::clone(symptoms),
            timeout: request_timeout.min(TIMEOUT),
        }
    }

    pub(crate) fn add<'a>(&self, topics: impl Iterator<Item = &'a Topic>) {
        let mut known = self.topics.lock();
        for topic in topics {
            if !known.contains(topic) {
                known.push_back(topic.clone());
            }
        }
    }

    pub(crate) fn remove(&self, topic: &Topic) {
        self.topics.lock().retain(|known| known != topic);
        let noted = self
            .symptoms
            .all()
            .into_iter()
            .filter(|symptom| symptom.kind == SymptomKind::PartitionDead);
        for place in noted.filter_map(|symptom| symptom.partition).filter(|(of, _)| of == topic) {
            self.symptoms.clear(SymptomKind::PartitionDead, Some(place));
        }
    }

    /// Checks some of the topics and notes partitions without a leader. Blocks.
    ///
    /// # Errors
    /// Why no broker has answered.
    pub(crate) fn run(&self, producer: &Producer) -> Result<(), String> {
        let next = {
            let mut topics = self.topics.lock();
            let count = topics.len().div_ceil(CALLS_PER_ROUND);
            topics.rotate_left(count);
            topics.iter().rev().take(count).cloned().collect::<Vec<_>>()
        };
        if next.is_empty() {
            let answer = producer.fetch_metadata(ANY_TOPIC, self.timeout);
            return answer.map(drop).map_err(|error| producer.explain(&error));
        }
        for topic in next {
            let answer = producer.fetch_metadata(&topic, self.timeout);
            let metadata = answer.map_err(|error| producer.explain(&error))?;
            let known = metadata.topics().iter().find(|known| known.name() == topic.as_str());
            // The topic may have been removed meanwhile.
            if self.topics.lock().contains(&topic) {
                known
                    .iter()
                    .flat_map(|known| known.partitions())
                    .for_each(|partition| self.note(&topic, partition));
            }
        }
        Ok(())
    }

    fn note(&self, topic: &Topic, partition: &MetadataPartition) {
        let Ok(number) = u32::try_from(partition.id()) else { return };
        let place = Some((topic.clone(), number));
        if partition.leader() < 0 {
            self.symptoms.note(SymptomKind::PartitionDead, place, "no broker leads it");
        } else {
            self.symptoms.clear(SymptomKind::PartitionDead, place);
        }
    }
}
