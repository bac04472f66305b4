//! The shared broker, and what tests and operators may look at.

use crate::{
    cluster::Cluster,
    config::{MemberOptions, MemoryConfig, MemoryConfigError},
    faults::Faults,
    member::MemoryMember,
    partition::Position,
};
use buslane_core::{BrokerError, Message, Source, Topic, TopicSettings, TopicStrategy};
use std::sync::Arc;

/// A broker inside this process: topics, groups and cursors that outlive their members. Cloning
/// shares it.
///
/// It ends with its last clone and its last member; nothing is written to disk and nothing runs in
/// the background.
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

    /// Joins a group, which is created when it is new. The member reads nothing until it
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

    /// Names of the topics, sorted.
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
    /// A setting that is not possible, or that differs where only validation is asked for.
    pub fn configure_topic(
        &self,
        topic: &Topic,
        settings: &TopicSettings,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BrokerError> {
        self.0.configure(topic, settings, strategy)
    }

    /// The records that a topic holds, partition by partition, in order: what some group has not
    /// settled, or, while no group reads the topic (a dead-letter topic, say), all that fits.
    /// Nothing is settled by looking.
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

    /// Where a group stands in each partition of a topic; empty when it has never read it.
    #[must_use]
    pub fn positions(&self, group: &str, topic: &str) -> Vec<Position> {
        let (Some(group), Some(topic)) = (self.0.find_group(group), self.0.find(topic)) else {
            return Vec::new();
        };
        topic
            .partitions()
            .iter()
            .filter_map(|partition| partition.position(group.parts.group))
            .collect()
    }

    /// Records of a topic that a group has not settled; settled ones above an open one count too.
    #[must_use]
    pub fn lag(&self, group: &str, topic: &str) -> u64 {
        self.positions(group, topic).iter().map(Position::lag).sum()
    }

    /// Settlements that a group got for partitions that had moved on already. They were ignored.
    #[must_use]
    pub fn late_settlements(&self, group: &str) -> u64 {
        self.0.find_group(group).map_or(0, |group| group.parts.signal.late())
    }

    /// Forgets a group and its cursors, so that it holds no records back any longer; `false` when
    /// it has members or does not exist.
    pub fn delete_group(&self, group: &str) -> bool {
        self.0.delete_group(group)
    }
}
