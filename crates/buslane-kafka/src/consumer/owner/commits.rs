//! Commits: what is sent, what the broker answers, and what that lets go on.

use super::{super::membership::Commit, Owner, partition_number, rebalance::place};
use crate::{consumer::context::Context, native::CommitAnswer};
use buslane_core::SymptomKind;
use rdkafka::{Offset, TopicPartitionList, consumer::BaseConsumer, error::RDKafkaErrorCode};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// Time between two attempts of a commit that must not be given up.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl Owner {
    pub(super) fn send_commits(&mut self, client: &BaseConsumer<Context>, commits: &[Commit]) {
        if commits.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        let mut left_out = 0;
        for Commit { place, offer, .. } in commits {
            let mut element = list.add_partition(&place.topic, partition_number(place));
            element.set_metadata(&offer.metadata);
            if let Err(error) =
                element.set_offset(Offset::Offset(i64::try_from(offer.offset).unwrap_or(i64::MAX)))
            {
                warn!(%error, offset = offer.offset, "offset cannot be committed");
            }
            left_out += offer.left_out;
        }
        if left_out > 0 {
            info!(
                messages = left_out,
                "settled messages do not fit in the commit, a restart may run them again"
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

    /// Takes the answer to the commit that is on its way, if it comes within `patience`.
    pub(super) fn hear_of_commits(&mut self, patience: Duration) {
        if !self.membership.is_committing() {
            return;
        }
        let Some(CommitAnswer { error, partitions }) =
            self.commits.as_ref().and_then(|queue| queue.answer(patience))
        else {
            return;
        };
        self.commit_sent = None;
        self.heard_of_commit(error, &partitions);
        let refused: HashMap<(String, i32), RDKafkaErrorCode> = partitions
            .into_iter()
            .filter_map(|(topic, partition, error)| Some(((topic, partition), error?)))
            .collect();
        let too_large =
            refused.values().any(|error| *error == RDKafkaErrorCode::OffsetMetadataTooLarge);
        if too_large {
            let limit = self.membership.halve_metadata();
            warn!(limit, "the broker takes less metadata than it was sent");
        }
        if let Some(error) = error.or_else(|| refused.values().next().copied()) {
            info!(%error, "commit refused, it is tried again");
        }
        let everything = error.is_some() && refused.is_empty();
        self.membership.answered(|place| {
            everything || refused.contains_key(&(place.topic.to_string(), partition_number(place)))
        });
        for (generation, reading) in &mut self.readings {
            let last = reading.staged.last().map(|message| message.offset);
            if let (Some(last), Some(low)) = (last, self.membership.committed(*generation))
                && low > last
            {
                reading.assignment.put(reading.staged.drain(..));
            }
        }
    }

    /// Notes for whoever asks what the broker refuses, and what it takes.
    fn heard_of_commit(
        &self,
        error: Option<RDKafkaErrorCode>,
        partitions: &[(String, i32, Option<RDKafkaErrorCode>)],
    ) {
        let kind = SymptomKind::SettlementRefused;
        for (topic, partition, own) in partitions {
            let Some(place) = place(topic, *partition).map(|place| (place.topic, place.partition))
            else {
                continue;
            };
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

    /// Commits what stands, and waits for the answer. A group that is just being reshuffled refuses
    /// commits for a moment, so what is refused is offered again until `patience` is over.
    pub(super) fn commit_now(
        &mut self,
        client: &BaseConsumer<Context>,
        generations: &[u64],
        patience: Duration,
    ) {
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        loop {
            // The answer to one that is on its way comes first.
            while self.membership.is_committing() && !left().is_zero() {
                self.hear_of_commits(left());
            }
            if self.membership.is_committing() {
                self.membership.answered(|_| true);
            }
            let commits = self.membership.offers(generations);
            if commits.is_empty() {
                return;
            }
            if left().is_zero() {
                warn!(partitions = commits.len(), "not everything that is done could be committed");
                self.membership.answered(|_| true);
                return;
            }
            self.send_commits(client, &commits);
            while self.membership.is_committing() && !left().is_zero() {
                self.hear_of_commits(left());
            }
            if self.membership.was_refused() {
                std::thread::sleep(RETRY_PAUSE.min(left()));
            }
        }
    }

    /// Commits everything that is settled, and waits for the answer.
    pub(in crate::consumer) fn commit_all(
        &mut self,
        client: &BaseConsumer<Context>,
        patience: Duration,
    ) {
        self.collect_settlements(Instant::now());
        let generations = self.membership.generations();
        self.commit_now(client, &generations, patience);
    }
}
