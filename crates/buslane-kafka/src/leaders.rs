//! Whether the brokers answer, and whether the partitions that are read have leaders: one question
//! for both.

use crate::{bootstrap::ANY_TOPIC, producer::Producer};
use buslane_core::{SymptomKind, Symptoms, Topic};
use parking_lot::Mutex;
use rdkafka::metadata::MetadataPartition;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How long an answer is awaited: nobody waits for the thread that does.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many calls ask for all topics once.
const ROUND: usize = 4;

/// The topics of a member, in the order in which they are asked for.
pub(crate) struct Leaders {
    topics: Mutex<VecDeque<Topic>>,
    symptoms: Arc<Symptoms>,
    patience: Duration,
}

impl Leaders {
    pub(crate) fn new(symptoms: &Arc<Symptoms>, request_timeout: Duration) -> Self {
        Self {
            topics: Mutex::default(),
            symptoms: Arc::clone(symptoms),
            patience: request_timeout.min(PATIENCE),
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
        for place in noted.filter_map(|symptom| symptom.place).filter(|(of, _)| of == topic) {
            self.symptoms.clear(SymptomKind::PartitionDead, Some(place));
        }
    }

    /// Asks for some of the topics, and notes which partitions have no leader. Blocks.
    ///
    /// # Errors
    /// Why no broker has answered.
    pub(crate) fn ask(&self, producer: &Producer) -> Result<(), String> {
        let next = {
            let mut topics = self.topics.lock();
            let count = topics.len().div_ceil(ROUND);
            topics.rotate_left(count);
            topics.iter().rev().take(count).cloned().collect::<Vec<_>>()
        };
        if next.is_empty() {
            let answer = producer.ask(ANY_TOPIC, self.patience);
            return answer.map(drop).map_err(|error| producer.explain(&error));
        }
        for topic in next {
            let answer = producer.ask(&topic, self.patience);
            let metadata = answer.map_err(|error| producer.explain(&error))?;
            let known = metadata.topics().iter().find(|known| known.name() == topic.as_str());
            // Unless it was left meanwhile.
            if self.topics.lock().contains(&topic) {
                known
                    .iter()
                    .flat_map(|known| known.partitions())
                    .for_each(|partition| self.found(&topic, partition));
            }
        }
        Ok(())
    }

    fn found(&self, topic: &Topic, partition: &MetadataPartition) {
        let Ok(number) = u32::try_from(partition.id()) else { return };
        let place = Some((topic.clone(), number));
        if partition.leader() < 0 {
            self.symptoms.note(SymptomKind::PartitionDead, place, "no broker leads it");
        } else {
            self.symptoms.clear(SymptomKind::PartitionDead, place);
        }
    }
}
