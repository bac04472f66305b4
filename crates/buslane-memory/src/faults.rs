//! Faults on demand. Each fault happens at the exact delivery that the script names, so that tests
//! of handlers are repeatable.

use crate::cluster::Cluster;
use buslane_core::Topic;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Makes a [`MemoryBroker`](crate::MemoryBroker) fail on demand. Creates missing topics.
///
/// Deliveries are counted per topic, over all partitions and groups, from the call on. The next
/// delivery is number 1.
///
/// ```
/// use buslane_core::{Broker, BrokerEvent};
/// use buslane_memory::{MemberOptions, MemoryBroker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = MemoryBroker::default();
/// let member = broker.member(MemberOptions::new("billing"));
/// broker.faults().disconnect("cable pulled");
/// let event = member.next_event().await;
/// assert!(matches!(event, Some(BrokerEvent::Disconnected { reason }) if reason == "cable pulled"));
///
/// broker.faults().reconnect();
/// assert!(matches!(member.next_event().await, Some(BrokerEvent::Reconnected)));
/// # Ok(())
/// # }
/// ```
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

    /// Loses the settlement of the `nth` delivery: the message is delivered again although it was
    /// handled.
    pub fn lose_ack(&self, topic: &Topic, nth: u64) {
        self.cluster.find_or_create(topic).script(|script| script.lose_ack(nth));
    }

    /// Delivers the `nth` delivery twice in direct succession. The settlement of the second one is
    /// ignored.
    pub fn duplicate(&self, topic: &Topic, nth: u64) {
        self.cluster.find_or_create(topic).script(|script| script.duplicate(nth));
    }

    /// Holds the deliveries of the topic for `length` on tokio's clock, which tests can pause.
    pub fn delay(&self, topic: &Topic, length: Duration) {
        self.cluster.find_or_create(topic).script(|script| script.hold(Instant::now(), length));
    }

    /// Cuts the connection of all members. Each member gets an event. Deliveries stop, and a
    /// publish waits for the connection up to the publish timeout.
    pub fn disconnect(&self, reason: &str) {
        self.cluster.set_connection(Some(reason));
    }

    /// Ends [`Faults::disconnect`]. Each member gets an event, and continues where it stopped.
    pub fn reconnect(&self) {
        self.cluster.set_connection(None);
    }

    /// Revokes every partition of a group, and assigns it to the member after its owner, or to a
    /// sole owner again.
    pub fn rebalance(&self, group: &str) {
        if let Some(group) = self.cluster.find_group(group) {
            group.revoke_all();
        }
    }

    /// Refuses every publish to the topic with this reason, as a dead-letter topic without write
    /// access does.
    pub fn refuse_publish(&self, topic: &Topic, reason: &str) {
        self.cluster.find_or_create(topic).set_refusal(Some(reason.to_owned()));
    }

    /// Ends [`Faults::refuse_publish`].
    pub fn accept_publish(&self, topic: &Topic) {
        self.cluster.find_or_create(topic).set_refusal(None);
    }
}
