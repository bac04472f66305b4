//! The topics that this member reads by lease, and the bucket that holds the leases. The lease
//! [`task`](super::task) acts on both.

use super::keys;
use crate::{
    config::{ConsumerConfig, Start},
    consumers::DurableConsumer,
    link::Link,
    readers::Readers,
    topics::{Known, Topics},
};
use async_nats::jetstream::{
    context::KeyValueError,
    kv::{self, Store},
    stream::StorageType,
};
use buslane_core::{BrokerError, Topic};
use futures_util::future::try_join_all;
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio::sync::watch;

/// The bucket that all groups share.
const BUCKET: &str = "buslane";

/// A topic that this member reads by lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DesiredTopic {
    /// The number of partitions; `None` when one lease covers the whole topic.
    pub(super) partitions: Option<u32>,
    pub(super) stream: String,
}

impl DesiredTopic {
    /// The number of leases.
    pub(super) fn leases(&self) -> u32 {
        self.partitions.unwrap_or(1)
    }

    /// The partition that a lease covers.
    pub(super) fn partition(&self, lease: u32) -> Option<u32> {
        self.partitions.map(|_| lease)
    }

    pub(super) fn token(&self, topic: &Topic) -> String {
        keys::topic_token(topic, self.partitions.is_some())
    }
}

/// The topics that this member reads by lease.
#[derive(Debug, Clone, Default)]
pub(super) struct DesiredState {
    /// Counts the changes that a caller waits for.
    pub(super) version: u64,
    pub(super) topics: BTreeMap<Topic, DesiredTopic>,
    /// The deadline for open messages, if there is one. Set when the member leaves the group.
    pub(super) leaving: Option<Option<Instant>>,
}

/// Sets the topics that the lease task reads.
pub(crate) struct Coordinator {
    pub(super) link: Arc<Link>,
    pub(super) topics: Arc<Topics>,
    pub(super) readers: Arc<Readers>,
    pub(super) settings: Arc<ConsumerConfig>,
    pub(super) group: String,
    replicas: usize,
    pub(super) desired: watch::Sender<DesiredState>,
    /// The version of the desired state that the task has applied.
    pub(super) applied: watch::Sender<u64>,
}

impl Coordinator {
    pub(crate) fn new(
        link: Arc<Link>,
        topics: Arc<Topics>,
        readers: Arc<Readers>,
        settings: Arc<ConsumerConfig>,
        group: &str,
        replicas: usize,
    ) -> Self {
        let (desired, applied) = (watch::Sender::default(), watch::Sender::default());
        Self {
            link,
            topics,
            readers,
            settings,
            group: group.to_owned(),
            replicas,
            desired,
            applied,
        }
    }

    /// Reads a topic of this stream: this member's share of the partitions, or the whole of a topic
    /// without partitions if no other member reads it.
    ///
    /// # Errors
    /// When the server refuses a request, or does not answer.
    pub(crate) async fn read(
        &self,
        topic: &Topic,
        stream: &str,
        partitions: Option<u32>,
    ) -> Result<(), BrokerError> {
        let wanted = self.desire(topic, stream, partitions).await?;
        if wanted.partitions != partitions {
            tracing::info!(
                topic = topic.as_str(),
                stream,
                "topic with messages from before it had partitions: one member of the group settles them first"
            );
        }
        self.desired.send_modify(|desired| drop(desired.topics.insert(topic.clone(), wanted)));
        Ok(())
    }

    /// Creates the durable consumers of a topic, and returns the topic to read. Messages from
    /// before the topic had partitions are settled first, so that each key keeps its order.
    async fn desire(
        &self,
        topic: &Topic,
        stream: &str,
        partitions: Option<u32>,
    ) -> Result<DesiredTopic, BrokerError> {
        let whole = DesiredTopic { partitions: None, stream: stream.to_owned() };
        let parts = DesiredTopic { partitions, ..whole.clone() };
        // A group that has already read the topic must miss no message of new partitions, even if
        // the group began at the newest message.
        let begin =
            u64::from(self.settings.start == Start::Latest && self.is_known(topic, &parts).await?);
        self.make_consumers(topic, &parts, begin).await?;
        if partitions.is_none() || self.has_settled(topic, &whole).await? {
            return Ok(parts);
        }
        self.make_consumers(topic, &whole, begin).await?;
        Ok(whole)
    }

    async fn make_consumers(
        &self,
        topic: &Topic,
        wanted: &DesiredTopic,
        begin: u64,
    ) -> Result<(), BrokerError> {
        let consumers = (0..wanted.leases()).map(|lease| self.consumer(topic, lease, wanted));
        let consumers = consumers.collect::<Result<Vec<DurableConsumer>, _>>()?;
        try_join_all(consumers.iter().map(|consumer| consumer.ensure(&self.link, begin)))
            .await
            .map(drop)
    }

    /// Whether the group has read the topic as a whole, or its first partition.
    async fn is_known(&self, topic: &Topic, wanted: &DesiredTopic) -> Result<bool, BrokerError> {
        let whole = DesiredTopic { partitions: None, ..wanted.clone() };
        let consumers = [self.consumer(topic, 0, &whole)?, self.consumer(topic, 0, wanted)?];
        let known =
            try_join_all(consumers.iter().map(|consumer| consumer.exists(&self.link))).await?;
        Ok(known.contains(&true))
    }

    /// Whether every message from before the topic had partitions is settled. No more such messages
    /// can arrive.
    async fn has_settled(&self, topic: &Topic, whole: &DesiredTopic) -> Result<bool, BrokerError> {
        match self.topics.last_without_partition(topic, &whole.stream).await? {
            0 => Ok(true),
            last => self.consumer(topic, 0, whole)?.has_settled(&self.link, last).await,
        }
    }

    /// Stops reading a topic. Its sources have ended when this returns.
    pub(crate) async fn drop_topic(&self, topic: &Topic) {
        let mut version = 0;
        self.desired.send_modify(|desired| {
            desired.topics.remove(topic);
            desired.version += 1;
            version = desired.version;
        });
        let mut applied = self.applied.subscribe();
        // A task without a bucket has started no source.
        let _ = tokio::time::timeout(
            self.link.request_timeout,
            applied.wait_for(|applied| *applied >= version),
        )
        .await;
    }

    /// Adapts to partitions that were added to the topic after reading began.
    pub(crate) async fn adapt(&self, topic: &Topic) -> Result<(), BrokerError> {
        let Some(present) = self.desired.borrow().topics.get(topic).cloned() else { return Ok(()) };
        let Some(Known { stream: Some(stream), partitions, .. }) =
            self.topics.refresh(topic).await?
        else {
            return Ok(());
        };
        if partitions != present.partitions {
            let next = self.desire(topic, &stream, partitions).await?;
            // The subscription may have ended meanwhile.
            self.desired.send_if_modified(|desired| match desired.topics.get_mut(topic) {
                Some(wanted) => std::mem::replace(wanted, next.clone()) != next,
                None => false,
            });
        }
        Ok(())
    }

    /// Gives up every partition once its open messages have ended, or at the deadline.
    pub(crate) fn leave(&self, deadline: Option<Instant>) {
        self.desired.send_modify(|desired| {
            desired.topics.clear();
            desired.leaving = Some(deadline);
        });
    }

    pub(super) fn consumer(
        &self,
        topic: &Topic,
        lease: u32,
        wanted: &DesiredTopic,
    ) -> Result<DurableConsumer, BrokerError> {
        let partition = wanted.partition(lease);
        DurableConsumer::new(
            &self.topics,
            &self.settings,
            &self.group,
            topic,
            partition,
            &wanted.stream,
        )
    }

    /// Opens the bucket of leases with the current client.
    pub(super) async fn find_bucket(&self) -> Result<Store, KeyValueError> {
        self.link.jetstream().get_key_value(BUCKET).await
    }

    /// Opens the bucket of leases, or creates it.
    pub(super) async fn bucket(&self) -> Result<Store, String> {
        if let Ok(store) = self.find_bucket().await {
            return Ok(store);
        }
        let config = kv::Config {
            bucket: BUCKET.to_owned(),
            description: "buslane: leases of partitions".to_owned(),
            history: 1,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..kv::Config::default()
        };
        self.link.jetstream().create_key_value(config).await.map_err(|error| error.to_string())
    }
}
