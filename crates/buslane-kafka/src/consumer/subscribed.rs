//! The topics that this member reads, and what the client is told of them.

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

/// How long the brokers may take to name topics: nothing else is served meanwhile.
const NAMING: Duration = Duration::from_secs(1);
/// Time between two such questions.
const NAMING_PAUSE: Duration = Duration::from_secs(1);
/// A pattern that no name of a topic fits: names have no blank.
const NO_TOPIC: &str = "^ $";

#[derive(Default)]
pub(super) struct Subscribed {
    topics: BTreeSet<Topic>,
    /// Those of them that had ended before, and that the group has yet to take away.
    returning: BTreeSet<Topic>,
    /// What the client was told last.
    told: BTreeSet<Topic>,
    /// Those of `topics` that no broker knew when they were asked.
    unnamed: BTreeSet<Topic>,
    /// When to ask for them again, or for all when no broker has answered.
    ask_at: Option<Instant>,
}

impl Subscribed {
    pub(super) fn add(
        &mut self,
        topics: Vec<(Topic, SubscribeOptions)>,
        client: &BaseConsumer<Context>,
    ) -> Result<(), BrokerError> {
        let before = self.topics.len();
        {
            let mut owner = client.context().owner.lock();
            for (topic, options) in topics {
                if options.settle_first {
                    owner.settle_first(&topic);
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
        client.context().owner.lock().end_topic(topic);
        self.send(client)
    }

    /// Does what had to wait for the group.
    pub(super) fn follow(&mut self, client: &BaseConsumer<Context>) {
        let asks = self.ask_at.is_some_and(|at| Instant::now() >= at);
        if !asks
            && (self.returning.is_empty()
                || self.returning.is_subset(&client.context().owner.lock().ending_topics()))
        {
            return;
        }
        if let Err(error) = self.send(client) {
            warn!(%error, "topics could not be joined");
        }
    }

    /// Tells the client what to read. A topic that comes back before the group has taken it away is
    /// left out until it has: the client would join both changes to none, and nothing would read
    /// the partitions again.
    fn send(&mut self, client: &BaseConsumer<Context>) -> Result<(), BrokerError> {
        let context = client.context();
        let ending = context.owner.lock().ending_topics();
        self.returning = self.topics.intersection(&ending).cloned().collect();
        context.is_member.store(!self.topics.is_empty(), Ordering::Relaxed);
        if self.topics.is_empty() {
            context.rests();
        } else {
            context.waits("it has not got its share of the topics that it reads now");
        }
        let had_asked = self.ask_at.take().is_some();
        let wanted: BTreeSet<Topic> = self.topics.difference(&ending).cloned().collect();
        let changes = !self.told.is_empty() && !wanted.is_empty();
        let wanted =
            if changes && must_name(client) { self.named(&wanted, client) } else { wanted };
        if wanted == self.told {
            if had_asked && self.ask_at.is_none() {
                // What it waited for is not wanted any more, and no change of the group will say
                // that it has its share.
                context.rests();
            }
            return Ok(());
        }
        tell(client, &wanted)
            .map_err(|error| BrokerError::Unreachable { reason: error.to_string() })?;
        self.told = wanted;
        Ok(())
    }

    /// Those of `wanted` that the brokers know; what the client was told last when none of them
    /// answers.
    fn named(
        &mut self,
        wanted: &BTreeSet<Topic>,
        client: &BaseConsumer<Context>,
    ) -> BTreeSet<Topic> {
        let again = Some(Instant::now() + NAMING_PAUSE);
        let named = match existing_topics(client.client(), wanted, NAMING) {
            Ok(named) => named,
            Err(error) => {
                let line = "no broker has said which topics there are: what is read stays as it is until one does";
                if let Some(suppressed) = client.context().reasons.is_due(line) {
                    warn!(%error, suppressed, "{line}");
                }
                self.ask_at = again;
                return self.told.clone();
            }
        };
        let unnamed: BTreeSet<Topic> = wanted.difference(&named).cloned().collect();
        if !unnamed.is_subset(&self.unnamed) {
            warn!(topics = %unnamed.iter().map(Topic::as_str).collect::<Vec<_>>().join(", "), "no broker knows these topics: they are read once one does");
        }
        self.ask_at = again.filter(|_| !unnamed.is_empty());
        self.unnamed = unnamed;
        named
    }
}

/// A member that reads nothing leaves its group. Where the broker shares out, it stays without a
/// topic: librdkafka 2.12 does not find back if a rebalance was on its way when it left (it takes
/// itself for a member, and waits for ever or sends a heartbeat that the broker calls invalid,
/// which is fatal).
fn tell(client: &BaseConsumer<Context>, topics: &BTreeSet<Topic>) -> KafkaResult<()> {
    if !topics.is_empty() {
        return client.subscribe(&topics.iter().map(Topic::as_str).collect::<Vec<_>>());
    }
    if client.context().is_barrier {
        client.unsubscribe();
        return Ok(());
    }
    client.subscribe(&[NO_TOPIC])
}

/// Whether a change of the client's list waits until brokers have named its topics. A client whose
/// list changes to topics that it has never heard of, while it joins a group that it had left or
/// was thrown out of, ends the process by an assertion, where rebalances take a part
/// (`rd_kafka_cgrp_modify_subscription` of librdkafka 2.12, not mended in any release so far). Who
/// has asked has heard. Not before the first group: then all that comes one by one is joined at
/// once, because the client has to ask itself. Where the broker shares out nothing is asserted.
fn must_name(client: &BaseConsumer<Context>) -> bool {
    client.context().is_barrier
        && matches!(client.rebalance_protocol(), RebalanceProtocol::Cooperative)
}
