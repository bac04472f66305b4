//! Sends commits, and applies the broker's answers.

use super::{
    super::{
        membership::{Commit, TopicPartition},
        partition::librdkafka_offset,
    },
    GroupMember,
};
use crate::native::CommitAnswer;
use buslane_core::SymptomKind;
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, ConsumerContext},
    error::RDKafkaErrorCode,
};
use std::{
    collections::HashMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// Time between two attempts of a commit before partitions are released.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl GroupMember {
    pub(super) fn send_commits(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        commits: &[Commit],
    ) {
        self.inbox.counts.left_out.store(self.membership.left_out(), Ordering::Relaxed);
        if commits.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        let mut left_out = 0;
        for Commit { partition, offer, .. } in commits {
            let mut element = list.add_partition(&partition.topic, partition.number());
            element.set_metadata(&offer.metadata);
            if let Err(error) = element.set_offset(librdkafka_offset(offer.offset)) {
                warn!(%error, offset = offer.offset, "offset cannot be committed");
            }
            left_out += offer.left_out;
        }
        if left_out > 0 {
            info!(
                messages = left_out,
                "finished messages do not fit in the commit: a restart may run them again"
            );
        }
        let sent = match &self.commits {
            Some(queue) => queue.send(client, &list),
            None => Err(RDKafkaErrorCode::InvalidArgument),
        };
        match sent {
            Ok(()) => self.commit_sent = Some(Instant::now()),
            Err(error) => {
                warn!(%error, "commit was not sent");
                self.membership.answered(|_| true);
            }
        }
    }

    /// Applies the answer to the commit in flight if it arrives within `timeout`.
    pub(super) fn receive_commit_answer(&mut self, timeout: Duration) {
        if !self.membership.is_committing() {
            return;
        }
        let Some(CommitAnswer { error, partitions }) =
            self.commits.as_ref().and_then(|queue| queue.answer(timeout))
        else {
            return;
        };
        self.commit_sent = None;
        self.note_symptoms(error, &partitions);
        let refused: HashMap<(String, i32), RDKafkaErrorCode> = partitions
            .into_iter()
            .filter_map(|(topic, partition, error)| Some(((topic, partition), error?)))
            .collect();
        let too_large =
            refused.values().any(|error| *error == RDKafkaErrorCode::OffsetMetadataTooLarge);
        if too_large {
            let limit = self.membership.halve_metadata();
            warn!(limit, "commit metadata is too large for the broker: less is sent from now on");
        }
        if let Some(error) = error.or_else(|| refused.values().next().copied()) {
            info!(%error, "commit refused: it is sent again");
        }
        let everything = error.is_some() && refused.is_empty();
        self.membership.answered(|partition| {
            let key = (partition.topic.to_string(), partition.number());
            everything || refused.contains_key(&key)
        });
        for (generation, reader) in &mut self.readers {
            reader.hand_out_committed(self.membership.committed(*generation));
        }
    }

    /// Reports refused commits as symptoms, and clears the symptoms of accepted ones.
    fn note_symptoms(
        &self,
        error: Option<RDKafkaErrorCode>,
        partitions: &[(String, i32, Option<RDKafkaErrorCode>)],
    ) {
        let kind = SymptomKind::SettlementRefused;
        for (topic, partition, own) in partitions {
            let Some(partition) = TopicPartition::new(topic, *partition) else { continue };
            let place = (partition.topic, partition.partition);
            match own.or(error) {
                Some(error) => self.symptoms.note(kind, Some(place), error.to_string()),
                None => self.symptoms.clear(kind, Some(place)),
            }
        }
        match error.filter(|_| partitions.is_empty()) {
            Some(error) => self.symptoms.note(kind, None, error.to_string()),
            None => self.symptoms.clear(kind, None),
        }
    }

    /// Commits all settled messages of these assignments, and waits for the answer. A group refuses
    /// commits for a moment of each rebalance, so a refused commit is repeated until `timeout`.
    pub(super) fn commit_now(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        generations: &[u64],
        timeout: Duration,
    ) {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        loop {
            // The commit in flight must be answered first.
            while self.membership.is_committing() && !left().is_zero() {
                self.receive_commit_answer(left());
            }
            if self.membership.is_committing() {
                self.membership.answered(|_| true);
            }
            let commits = self.membership.offers(generations);
            if commits.is_empty() {
                return;
            }
            if left().is_zero() {
                warn!(partitions = commits.len(), "not all finished messages could be committed");
                self.membership.answered(|_| true);
                return;
            }
            self.send_commits(client, &commits);
            while self.membership.is_committing() && !left().is_zero() {
                self.receive_commit_answer(left());
            }
            if self.membership.was_refused() {
                std::thread::sleep(RETRY_PAUSE.min(left()));
            }
        }
    }

    /// Commits all settled messages, and waits for the answer.
    pub(in crate::consumer) fn commit_all(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        timeout: Duration,
    ) {
        self.collect_settlements(Instant::now());
        let generations = self.membership.generations();
        self.commit_now(client, &generations, timeout);
    }
}
