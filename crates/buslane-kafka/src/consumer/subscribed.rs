//! The topics that this member reads, and what the client is told of them.

use super::context::Context;
use crate::native::has_joined;
use buslane_core::{BrokerError, SubscribeOptions, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::{collections::BTreeSet, sync::atomic::Ordering};
use tracing::warn;

#[derive(Default)]
pub(super) struct Subscribed {
    topics: BTreeSet<Topic>,
    /// Those of them that had ended before, and that the group has yet to take away.
    returning: BTreeSet<Topic>,
    /// It reads nothing any more, and leaves its group once it has joined it.
    leaves: bool,
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

    pub(super) fn remove(&mut self, topic: &Topic, client: &BaseConsumer<Context>) -> Result<(), BrokerError> {
        if !self.topics.remove(topic) {
            return Ok(());
        }
        client.context().owner.lock().end_topic(topic);
        self.send(client)
    }

    /// Does what had to wait for the group.
    pub(super) fn follow(&mut self, client: &BaseConsumer<Context>) {
        if self.leaves {
            self.leave_group(client);
        }
        if self.returning.is_empty() || self.returning.is_subset(&client.context().owner.lock().ending_topics()) {
            return;
        }
        if let Err(error) = self.send(client) {
            warn!(%error, "topics could not be joined again");
        }
    }

    /// Tells the client what to read. A topic that comes back before the group has taken it away is left out until it
    /// has: the client would join both changes to none, and nothing would read the partitions again.
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
        let topics: Vec<_> = self.topics.difference(&ending).map(Topic::as_str).collect();
        self.leaves = topics.is_empty();
        if self.leaves {
            self.leave_group(client);
            return Ok(());
        }
        client.subscribe(&topics).map_err(|error| BrokerError::Unreachable { reason: error.to_string() })
    }

    /// A client that leaves a group of the new protocol while the broker answers its first heartbeat drops what it was
    /// given, and is not given it again when it comes back: the broker believes that it has it.
    fn leave_group(&mut self, client: &BaseConsumer<Context>) {
        if client.context().is_barrier || has_joined(client.client()) {
            client.unsubscribe();
            self.leaves = false;
        }
    }
}
