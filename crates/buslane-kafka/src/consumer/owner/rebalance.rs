//! Partitions come and go. Both are answered within the client's callback: a late answer could meet
//! a newer assignment.

use super::{Owner, Reading};
use crate::{
    consumer::{
        ages::Ages, assignment::Assignment, context::Context, intake::KafkaIntake,
        membership::Place,
    },
    native::PartitionQueue,
};
use buslane_core::{BrokerEvent, Source, SymptomKind, Topic};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tracing::warn;

/// How long an assignment waits for what the group has committed.
const COMMITTED_PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer to a commit is awaited when partitions are let go.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

impl Owner {
    /// Partitions are given to this member. Sets where each is to be read from.
    pub(in crate::consumer) fn assigned(
        &mut self,
        client: &BaseConsumer<Context>,
        list: &mut TopicPartitionList,
    ) {
        if list.count() == 0 {
            return;
        }
        let committed = client.committed_offsets(list.clone(), COMMITTED_PATIENCE);
        if let Err(error) = &committed {
            warn!(%error, "committed offsets could not be read; what is done above a gap may run again");
        }
        let places: Vec<_> =
            list.elements().iter().map(|at| (at.topic().to_owned(), at.partition())).collect();
        for (topic, partition) in places {
            let Some(place) = place(&topic, partition) else { continue };
            let known =
                committed.as_ref().ok().and_then(|list| list.find_partition(&topic, partition));
            let known = known.as_ref().and_then(|element| match element.offset() {
                Offset::Offset(offset) => Some((u64::try_from(offset).ok()?, element.metadata())),
                _ => None,
            });
            let assigned = self.membership.assign(place.clone(), known);
            if let Some(error) = assigned.unreadable {
                warn!(topic, partition, %error, "commit metadata not understood and ignored");
            }
            if let Some(from) = assigned.from
                && let Err(error) = list.set_partition_offset(
                    &topic,
                    partition,
                    Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX)),
                )
            {
                warn!(topic, partition, %error, "start offset not set");
            }
            let settle_first = self.settle_first.contains(&place.topic);
            let source = Source::new(place.topic.clone(), place.partition);
            let assignment = Assignment::new(source, assigned.generation, settle_first, &self.mail);
            let queue = PartitionQueue::new(client, &topic, partition, &self.mail.wake);
            if self.stopped {
                assignment.end();
            }
            self.readings.insert(
                assigned.generation,
                Reading {
                    assignment: Arc::clone(&assignment),
                    place,
                    queue: queue.filter(|_| !self.stopped),
                    waiting: VecDeque::new(),
                    staged: Vec::new(),
                    settle_first,
                    ages: Ages::default(),
                    reread: None,
                },
            );
            self.events.push(BrokerEvent::Assigned(Box::new(KafkaIntake::new(assignment))));
        }
    }

    /// Partitions are taken from this member: what has started is awaited, what is done is
    /// committed.
    pub(in crate::consumer) fn revoked(
        &mut self,
        client: &BaseConsumer<Context>,
        list: &TopicPartitionList,
        is_lost: bool,
    ) {
        let generations: Vec<_> = list
            .elements()
            .iter()
            .filter_map(|at| self.membership.generation(&place(at.topic(), at.partition())?))
            .collect();
        self.let_go(client, &generations, is_lost);
    }

    fn let_go(&mut self, client: &BaseConsumer<Context>, generations: &[u64], is_lost: bool) {
        if generations.is_empty() {
            return;
        }
        self.end(generations);
        if !is_lost {
            self.drain(generations, self.drain_deadline);
            self.commit_now(client, generations, COMMIT_PATIENCE);
        }
        for generation in generations {
            if let Some(reading) = self.readings.remove(generation) {
                reading.assignment.release();
                let place = (reading.place.topic, reading.place.partition);
                self.symptoms.clear(SymptomKind::SettlementRefused, Some(place));
            }
        }
        let stragglers = self.membership.release(generations);
        if stragglers > 0 {
            warn!(
                stragglers,
                lost = is_lost,
                "partitions let go while messages of them are being handled"
            );
        }
    }
}

pub(super) fn place(topic: &str, partition: i32) -> Option<Place> {
    Some(Place { topic: Topic::new(topic).ok()?, partition: u32::try_from(partition).ok()? })
}
