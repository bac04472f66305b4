//! The state that all members of a [`MemoryBroker`](crate::MemoryBroker) share: topics, groups and
//! the connection.

use crate::{
    balance::MemberId,
    claim::GroupContext,
    config::MemoryConfig,
    group::Group,
    topic::{self, TopicState},
    wakes::{Connection, GroupSignal},
};
use arc_swap::ArcSwap;
use buslane_core::{BrokerError, Layered, Stragglers, Topic, TopicSettings, TopicStrategy};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

pub(crate) struct Cluster {
    pub(crate) config: MemoryConfig,
    pub(crate) connection: Arc<Connection>,
    /// A snapshot, so that a publish finds its topic without a lock.
    topics: ArcSwap<Layered<Topic, Arc<TopicState>>>,
    /// Locked while topics or groups are added.
    groups: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    next: u64,
    by_name: HashMap<String, Arc<Group>>,
}

impl Cluster {
    pub(crate) fn new(config: MemoryConfig) -> Self {
        Self {
            config,
            connection: Arc::default(),
            topics: ArcSwap::default(),
            groups: Mutex::default(),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<TopicState>> {
        self.topics.load().get(name).cloned()
    }

    /// The topic, created with the defaults if it is new and `create_missing` is on.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`] when the topic is missing and `create_missing` is off.
    pub(crate) fn topic(&self, name: &Topic) -> Result<Arc<TopicState>, BrokerError> {
        match self.find(name) {
            Some(topic) => Ok(topic),
            None if self.config.create_missing => Ok(self.find_or_create(name)),
            None => Err(BrokerError::UnknownTopic { topic: name.clone() }),
        }
    }

    /// The topic, created with the defaults if it is new.
    pub(crate) fn find_or_create(&self, name: &Topic) -> Arc<TopicState> {
        self.find(name).unwrap_or_else(|| self.create(name, &TopicSettings::default()).0)
    }

    /// The topic of a log, created with so many partitions if it is new and `create_missing` is on.
    ///
    /// # Errors
    /// [`BrokerError::UnknownTopic`] when the topic is missing and `create_missing` is off.
    pub(crate) fn find_log(
        &self,
        name: &Topic,
        partitions: usize,
    ) -> Result<Arc<TopicState>, BrokerError> {
        match self.find(name) {
            Some(topic) => Ok(topic),
            None if self.config.create_missing => {
                let partitions = u32::try_from(partitions).ok();
                Ok(self.create(name, &TopicSettings { partitions, ..Default::default() }).0)
            }
            None => Err(BrokerError::UnknownTopic { topic: name.clone() }),
        }
    }

    /// The topic, and whether this call created it.
    fn create(&self, name: &Topic, wanted: &TopicSettings) -> (Arc<TopicState>, bool) {
        let _one_at_a_time = self.groups.lock();
        if let Some(topic) = self.find(name) {
            return (topic, false);
        }
        let topic = Arc::new(TopicState::new(name.clone(), &self.config, wanted));
        let mut topics = Layered::clone(&self.topics.load());
        topics.insert(name.clone(), Arc::clone(&topic));
        self.topics.store(Arc::new(topics));
        (topic, true)
    }

    pub(crate) fn topics(&self) -> Vec<Arc<TopicState>> {
        self.topics.load().iter().map(|(_, topic)| Arc::clone(topic)).collect()
    }

    /// Adds a member to a group, which is created if it does not exist.
    pub(crate) fn join(
        &self,
        name: &str,
        drain_deadline: Duration,
        stragglers: &Arc<Stragglers>,
    ) -> (Arc<Group>, MemberId) {
        // Under the lock, so that the group cannot be deleted between its look-up and the join.
        let mut groups = self.groups.lock();
        if let Some(group) = groups.by_name.get(name) {
            return (Arc::clone(group), group.join(drain_deadline, stragglers));
        }
        groups.next += 1;
        let group = Group::new(GroupContext {
            group: groups.next,
            group_name: name.into(),
            span: self.config.max_open,
            signal: Arc::new(GroupSignal::default()),
            connection: Arc::clone(&self.connection),
        });
        groups.by_name.insert(name.to_owned(), Arc::clone(&group));
        let id = group.join(drain_deadline, stragglers);
        (group, id)
    }

    pub(crate) fn find_group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.lock().by_name.get(name).cloned()
    }

    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().by_name.values().cloned().collect()
    }

    /// Deletes a group. Returns `false` when the group has members or does not exist.
    pub(crate) fn delete_group(&self, name: &str) -> bool {
        let mut groups = self.groups.lock();
        if !groups.by_name.get(name).is_some_and(|group| group.is_empty()) {
            return false;
        }
        let Some(group) = groups.by_name.remove(name) else { return false };
        drop(groups);
        for topic in self.topics() {
            topic
                .partitions()
                .iter()
                .for_each(|partition| partition.remove_cursor(group.context.group));
        }
        true
    }

    pub(crate) fn configure(
        &self,
        name: &Topic,
        wanted: &TopicSettings,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BrokerError> {
        topic::check(name, wanted, strategy)?;
        match strategy {
            TopicStrategy::CreateOnly => Ok(self.create(name, wanted).0.settings()),
            TopicStrategy::CreateOrUpdate => {
                let (topic, created) = self.create(name, wanted);
                if !created && topic.update(wanted)? {
                    self.groups().iter().for_each(|group| group.grown(name));
                }
                Ok(topic.settings())
            }
            TopicStrategy::ValidateOnly => {
                let topic = self
                    .find(name)
                    .ok_or_else(|| BrokerError::UnknownTopic { topic: name.clone() })?;
                topic.compare(wanted)?;
                Ok(topic.settings())
            }
            TopicStrategy::Skip => {
                Ok(self.find(name).map(|topic| topic.settings()).unwrap_or_default())
            }
        }
    }

    /// Cuts (`Some`) or restores the connection, and notifies all members.
    pub(crate) fn set_connection(&self, cut: Option<&str>) {
        if !self.connection.set(cut) {
            return;
        }
        for topic in self.topics() {
            topic.partitions().iter().for_each(|partition| partition.wake_all());
        }
        self.groups().iter().for_each(|group| group.context.signal.notify());
    }
}
