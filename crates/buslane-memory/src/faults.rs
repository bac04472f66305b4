//! Faults on demand: each happens exactly where the script says, so that a test of a user's
//! handlers is repeatable.

use crate::cluster::Cluster;
use buslane_core::Topic;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Makes a [`MemoryBroker`](crate::MemoryBroker) misbehave. Topics that do not exist yet are
/// created.
///
/// Deliveries are counted per topic, over all partitions and groups, from the call on; 1 is the
/// next one.
#[derive(Clone)]
pub struct Faults {
    cluster: Arc<Cluster>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    pub(crate) const fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    /// The settlement of the `nth` delivery gets lost: the message is delivered again although it
    /// was handled.
    pub fn lose_ack(&self, topic: &Topic, nth: u64) {
        self.cluster.find_or_create(topic).script(|script| script.lose_ack(nth));
    }

    /// The `nth` delivery comes twice, one behind the other. What becomes of the second one counts
    /// for nothing.
    pub fn duplicate(&self, topic: &Topic, nth: u64) {
        self.cluster.find_or_create(topic).script(|script| script.duplicate(nth));
    }

    /// No delivery of the topic is handed out for `length` (tokio's time, which tests can pause).
    pub fn delay(&self, topic: &Topic, length: Duration) {
        self.cluster.find_or_create(topic).script(|script| script.hold(Instant::now(), length));
    }

    /// Cuts the connection of all members. Each is told by an event; nothing is delivered, and a
    /// publish waits for the connection up to the publish timeout.
    pub fn disconnect(&self, reason: &str) {
        self.cluster.set_connection(Some(reason));
    }

    /// Ends [`Faults::disconnect`]. Each member is told by an event, and everything goes on where
    /// it stopped.
    pub fn reconnect(&self) {
        self.cluster.set_connection(None);
    }

    /// Revokes every partition of a group and gives it to the member after its owner, or to the
    /// owner again when it is alone.
    pub fn rebalance(&self, group: &str) {
        if let Some(group) = self.cluster.find_group(group) {
            group.revoke_all();
        }
    }

    /// Every publish to the topic is refused, for this reason: a dead-letter topic that cannot be
    /// written, say.
    pub fn refuse_publish(&self, topic: &Topic, reason: &str) {
        self.cluster.find_or_create(topic).set_refusal(Some(reason.to_owned()));
    }

    /// Ends [`Faults::refuse_publish`].
    pub fn accept_publish(&self, topic: &Topic) {
        self.cluster.find_or_create(topic).set_refusal(None);
    }
}
