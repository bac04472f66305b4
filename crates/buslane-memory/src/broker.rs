//! The shared broker, with inspection for tests and operators.

use crate::{
    cluster::Cluster,
    config::{MemberOptions, MemoryConfig, MemoryConfigError},
    faults::Faults,
    member::MemoryMember,
    partition::Position,
};
use buslane_core::{BrokerError, Message, Source, Topic, TopicSettings, TopicStrategy};
use std::sync::Arc;

/// A broker inside this process: topics, groups and cursors that outlive their members. Clones
/// share one broker.
///
/// The broker ends when its last clone and its last member are dropped. It writes nothing to disk
/// and has no background tasks.
///
/// ```
/// use buslane_core::{Broker, Record, Topic};
/// use buslane_memory::{MemberOptions, MemoryBroker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = MemoryBroker::default();
/// let orders = Topic::new("orders")?;
/// let member = broker.member(MemberOptions::new("billing"));
/// let receipts = member.publish(&orders, vec![Record::new("placed")]).get().await;
/// assert!(receipts[0].is_ok());
/// assert_eq!(&broker.read("orders")[0].payload[..], b"placed");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryBroker(Arc<Cluster>);

impl std::fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBroker").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self(Arc::new(Cluster::new(MemoryConfig::default())))
    }
}

impl MemoryBroker {
    /// A broker without topics.
    ///
    /// # Errors
    /// The first rule that `config` breaks.
    pub fn new(config: MemoryConfig) -> Result<Self, MemoryConfigError> {
        config.validate()?;
        Ok(Self(Arc::new(Cluster::new(config))))
    }

    /// Joins a group, which is created if it does not exist. The member reads no message until it
    /// subscribes.
    #[must_use]
    pub fn member(&self, options: MemberOptions) -> MemoryMember {
        MemoryMember::new(Arc::clone(&self.0), options)
    }

    /// Faults on demand, for tests.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.0))
    }

    /// The names of the topics, sorted.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        let mut names: Vec<_> = self.0.topics().iter().map(|topic| topic.name.clone()).collect();
        names.sort();
        names
    }

    /// Applies settings to a topic, as
    /// [`Broker::configure_topic`](buslane_core::Broker::configure_topic) does.
    ///
    /// # Errors
    /// When a setting is impossible, or differs under a strategy that only validates.
    pub fn configure_topic(
        &self,
        topic: &Topic,
        settings: &TopicSettings,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BrokerError> {
        self.0.configure(topic, settings, strategy)
    }

    /// The records of a topic, partition by partition, in order: those that some group has not
    /// settled, or, while no group reads the topic, all that fit (a dead-letter topic, for
    /// example). Settles no record.
    #[must_use]
    pub fn read(&self, topic: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        let Some(state) = self.0.find(topic) else { return messages };
        for partition in state.partitions().iter() {
            let source = Arc::new(Source::new(state.name.clone(), partition.index));
            partition.read_all(|offset, stored| {
                messages.push(stored.message(&source, offset));
            });
        }
        messages
    }

    /// The positions of a group in the partitions of a topic; empty when the group has never read
    /// the topic.
    #[must_use]
    pub fn positions(&self, group: &str, topic: &str) -> Vec<Position> {
        let (Some(group), Some(topic)) = (self.0.find_group(group), self.0.find(topic)) else {
            return Vec::new();
        };
        topic
            .partitions()
            .iter()
            .filter_map(|partition| partition.position(group.context.group))
            .collect()
    }

    /// The number of records from the lowest unsettled one of each partition on, including settled
    /// ones above it.
    #[must_use]
    pub fn lag(&self, group: &str, topic: &str) -> u64 {
        self.positions(group, topic).iter().map(Position::lag).sum()
    }

    /// The number of settlements of a group that arrived after their partition had moved. They were
    /// ignored.
    #[must_use]
    pub fn late_settlements(&self, group: &str) -> u64 {
        self.0.find_group(group).map_or(0, |group| group.context.signal.late())
    }

    /// Deletes a group and its cursors, so that it holds no records back. Returns `false` when the
    /// group has members or does not exist.
    pub fn delete_group(&self, group: &str) -> bool {
        self.0.delete_group(group)
    }
}
