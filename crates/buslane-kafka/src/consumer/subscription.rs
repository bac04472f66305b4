//! The topics that this member reads, and the list of topics that the client has.

use super::context::Context;
use crate::native::existing_topics;
use buslane_core::{BrokerError, SubscribeOptions, Topic};
use rdkafka::{
    consumer::{BaseConsumer, Consumer, RebalanceProtocol},
    error::KafkaResult,
};
use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tracing::warn;

/// How long a lookup of existing topics may take. The thread serves nothing else meanwhile.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two lookups.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// A pattern that matches no topic: names have no blank.
const NO_TOPIC: &str = "^ $";

#[derive(Default)]
pub(super) struct SubscribedTopics {
    topics: BTreeSet<Topic>,
    /// Topics that were removed and added again before the group has revoked their partitions.
    returning: BTreeSet<Topic>,
    /// The list of topics that the client has.
    sent: BTreeSet<Topic>,
    /// Topics that no broker knew at the last lookup.
    missing: BTreeSet<Topic>,
    /// When to look topics up again, because some were missing or no broker answered.
    lookup_at: Option<Instant>,
}

impl SubscribedTopics {
    pub(super) fn add(
        &mut self,
        topics: Vec<(Topic, SubscribeOptions)>,
        client: &BaseConsumer<Context>,
    ) -> Result<(), BrokerError> {
        let before = self.topics.len();
        {
            let mut member = client.context().member.lock();
            for (topic, options) in topics {
                if options.settle_first {
                    member.settle_first(&topic);
                }
                self.topics.insert(topic);
            }
        }
        if self.topics.len() == before { Ok(()) } else { self.send(client) }
    }

    pub(super) fn remove(
        &mut self,
        topic: &Topic,
        client: &BaseConsumer<Context>,
    ) -> Result<(), BrokerError> {
        if !self.topics.remove(topic) {
            return Ok(());
        }
        client.context().member.lock().end_topic(topic);
        self.send(client)
    }

    /// Sends the list again if topics had to wait for the group or for the brokers.
    pub(super) fn send_if_due(&mut self, client: &BaseConsumer<Context>) {
        let looks_up = self.lookup_at.is_some_and(|at| Instant::now() >= at);
        if !looks_up
            && (self.returning.is_empty()
                || self.returning.is_subset(&client.context().member.lock().ending_topics()))
        {
            return;
        }
        if let Err(error) = self.send(client) {
            warn!(%error, "the client refuses the list of topics");
        }
    }

    /// Sends the list of topics to the client. Leaves out a topic that returns before the group has
    /// revoked its partitions: the client would merge both changes into none, and nothing would
    /// read the partitions again.
    fn send(&mut self, client: &BaseConsumer<Context>) -> Result<(), BrokerError> {
        let context = client.context();
        let ending = context.member.lock().ending_topics();
        self.returning = self.topics.intersection(&ending).cloned().collect();
        context.is_subscribed.store(!self.topics.is_empty(), Ordering::Relaxed);
        if self.topics.is_empty() {
            context.note_settled();
        } else {
            context.note_unsettled("the group has not assigned partitions of the present topics");
        }
        let had_lookup = self.lookup_at.take().is_some();
        let wanted: BTreeSet<Topic> = self.topics.difference(&ending).cloned().collect();
        let changes = !self.sent.is_empty() && !wanted.is_empty();
        let wanted =
            if changes && needs_lookup(client) { self.existing(&wanted, client) } else { wanted };
        if wanted == self.sent {
            if had_lookup && self.lookup_at.is_none() {
                // The missing topics were removed, so no rebalance follows that would clear the
                // symptom.
                context.note_settled();
            }
            return Ok(());
        }
        subscribe(client, &wanted)
            .map_err(|error| BrokerError::Unreachable { reason: error.to_string() })?;
        self.sent = wanted;
        Ok(())
    }

    /// The topics of `wanted` that the brokers know; without an answer, the list that the client
    /// has.
    fn existing(
        &mut self,
        wanted: &BTreeSet<Topic>,
        client: &BaseConsumer<Context>,
    ) -> BTreeSet<Topic> {
        let again = Some(Instant::now() + LOOKUP_INTERVAL);
        let existing = match existing_topics(client.client(), wanted, LOOKUP_TIMEOUT) {
            Ok(existing) => existing,
            Err(error) => {
                if let Some(suppressed) = client.context().errors.is_due("existing topics") {
                    warn!(
                        %error,
                        suppressed,
                        "no broker says which topics exist: the list of topics stays until one does"
                    );
                }
                self.lookup_at = again;
                return self.sent.clone();
            }
        };
        let missing: BTreeSet<Topic> = wanted.difference(&existing).cloned().collect();
        if !missing.is_subset(&self.missing) {
            let topics = missing.iter().map(Topic::as_str).collect::<Vec<_>>().join(", ");
            warn!(topics, "no broker knows these topics: they are read once one does");
        }
        self.lookup_at = again.filter(|_| !missing.is_empty());
        self.missing = missing;
        existing
    }
}

/// Replaces the client's list of topics. A member without topics leaves its group. With the
/// protocol in which the brokers assign, it stays, subscribed to a pattern that matches nothing:
/// after an `unsubscribe` during a rebalance, librdkafka 2.12 takes itself for a member of the
/// group that it has left, and waits forever or sends a heartbeat that the broker calls invalid,
/// which is fatal.
fn subscribe(client: &BaseConsumer<Context>, topics: &BTreeSet<Topic>) -> KafkaResult<()> {
    if !topics.is_empty() {
        return client.subscribe(&topics.iter().map(Topic::as_str).collect::<Vec<_>>());
    }
    if client.context().has_join_barrier {
        client.unsubscribe();
        return Ok(());
    }
    client.subscribe(&[NO_TOPIC])
}

/// Whether a changed list may hold only topics that the client has metadata of. With cooperative
/// rebalances, librdkafka 2.12 aborts the process (an assertion in
/// `rd_kafka_cgrp_modify_subscription`, in every release so far) when its list changes to unknown
/// topics while it joins again a group that it has left or was removed from. A lookup makes topics
/// known. Before the first assignment no lookup is made: the client's own lookup then merges topics
/// that are subscribed one after the other into one change.
fn needs_lookup(client: &BaseConsumer<Context>) -> bool {
    client.context().has_join_barrier
        && matches!(client.rebalance_protocol(), RebalanceProtocol::Cooperative)
}
