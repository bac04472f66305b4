//! This member's place in its group: what it is to read, and the bucket where that is settled. What
//! happens there is the [`watcher`](super::watcher)'s.

use super::{watcher::Watcher, words};
use crate::{
    config::{ConsumerConfig, Start},
    consumers::Consumer,
    link::Link,
    readers::Readers,
    topics::{Known, Topics},
};
use async_nats::jetstream::{
    context::KeyValueError,
    kv::{self, Store},
    stream::StorageType,
};
use buslane_core::{BrokerError, SymptomKind, Topic, excerpt};
use futures_util::future::try_join_all;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The bucket of all groups.
const BUCKET: &str = "buslane";
const PAUSE: Duration = Duration::from_millis(200);

/// A topic that this member reads by lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// How many partitions it has; `None`: it has none, and is held as a whole.
    pub(crate) partitions: Option<u32>,
    pub(crate) stream: String,
}

impl Wanted {
    /// How many places there are to hold.
    pub(super) fn places(&self) -> u32 {
        self.partitions.unwrap_or(1)
    }

    /// The partition that a place is.
    pub(super) fn partition(&self, place: u32) -> Option<u32> {
        self.partitions.map(|_| place)
    }

    pub(super) fn token(&self, topic: &Topic) -> String {
        words::topic_token(topic, self.partitions.is_some())
    }
}

/// What the member is to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    /// Counts the orders.
    pub(super) version: u64,
    pub(super) wants: BTreeMap<Topic, Wanted>,
    /// It leaves the group: until when what is open is awaited, if there is an end to it.
    pub(super) leaving: Option<Option<Instant>>,
}

/// This member's place in its group.
pub(crate) struct Keeper {
    pub(super) link: Arc<Link>,
    pub(super) topics: Arc<Topics>,
    pub(super) readers: Arc<Readers>,
    pub(super) settings: Arc<ConsumerConfig>,
    pub(super) group: String,
    replicas: usize,
    pub(super) orders: watch::Sender<Orders>,
    /// The version of the orders that are carried out.
    pub(super) obeyed: watch::Sender<u64>,
}

impl Keeper {
    pub(crate) fn new(
        link: Arc<Link>,
        topics: Arc<Topics>,
        readers: Arc<Readers>,
        settings: Arc<ConsumerConfig>,
        group: &str,
        replicas: usize,
    ) -> Self {
        let (orders, obeyed) = (watch::Sender::default(), watch::Sender::default());
        Self { link, topics, readers, settings, group: group.to_owned(), replicas, orders, obeyed }
    }

    /// Reads a topic that is stored there: its partitions, as many as are this member's share, or
    /// all of it when no other member does.
    ///
    /// # Errors
    /// What the server refuses.
    pub(crate) async fn read(
        &self,
        topic: &Topic,
        stream: &str,
        partitions: Option<u32>,
    ) -> Result<(), BrokerError> {
        let wanted = self.next(topic, stream, partitions).await?;
        if wanted.partitions != partitions {
            tracing::info!(
                topic = topic.as_str(),
                stream,
                "topic with messages from before it had partitions: one member of the group settles them first"
            );
        }
        self.orders.send_modify(|orders| drop(orders.wants.insert(topic.clone(), wanted)));
        Ok(())
    }

    /// What is to be read of a topic, with its durable consumers. What came before it had
    /// partitions is settled first, so that each key keeps its order.
    async fn next(
        &self,
        topic: &Topic,
        stream: &str,
        partitions: Option<u32>,
    ) -> Result<Wanted, BrokerError> {
        let whole = Wanted { partitions: None, stream: stream.to_owned() };
        let parts = Wanted { partitions, ..whole.clone() };
        // A group that has read the topic misses nothing of what is new there, also when it began
        // at the newest message.
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
        wanted: &Wanted,
        begin: u64,
    ) -> Result<(), BrokerError> {
        let consumers = (0..wanted.places()).map(|place| self.consumer(topic, place, wanted));
        let consumers = consumers.collect::<Result<Vec<Consumer>, _>>()?;
        try_join_all(consumers.iter().map(|consumer| consumer.ensure(&self.link, begin)))
            .await
            .map(drop)
    }

    /// Whether the group has read the topic: as a whole, or its first partition.
    async fn is_known(&self, topic: &Topic, wanted: &Wanted) -> Result<bool, BrokerError> {
        let whole = Wanted { partitions: None, ..wanted.clone() };
        let consumers = [self.consumer(topic, 0, &whole)?, self.consumer(topic, 0, wanted)?];
        let known =
            try_join_all(consumers.iter().map(|consumer| consumer.exists(&self.link))).await?;
        Ok(known.contains(&true))
    }

    /// Whether nothing is left of what came before the topic had partitions. No more of it can
    /// come: once so, it stays so.
    async fn has_settled(&self, topic: &Topic, whole: &Wanted) -> Result<bool, BrokerError> {
        match self.topics.last_without_partition(topic, &whole.stream).await? {
            0 => Ok(true),
            last => self.consumer(topic, 0, whole)?.has_settled(&self.link, last).await,
        }
    }

    /// Reads a topic no more: when this answers, its sources have ended.
    pub(crate) async fn drop_topic(&self, topic: &Topic) {
        let mut version = 0;
        self.orders.send_modify(|orders| {
            orders.wants.remove(topic);
            orders.version += 1;
            version = orders.version;
        });
        let mut obeyed = self.obeyed.subscribe();
        // One that has no bucket yet has started nothing.
        let _ = tokio::time::timeout(
            self.link.request_timeout,
            obeyed.wait_for(|obeyed| *obeyed >= version),
        )
        .await;
    }

    /// The topic may have other partitions than when its reading began.
    pub(crate) async fn adapt(&self, topic: &Topic) -> Result<(), BrokerError> {
        let Some(present) = self.orders.borrow().wants.get(topic).cloned() else { return Ok(()) };
        let Some(Known { stream: Some(stream), partitions, .. }) = self.topics.look(topic).await?
        else {
            return Ok(());
        };
        if partitions != present.partitions {
            let next = self.next(topic, &stream, partitions).await?;
            // Unless the subscription has ended meanwhile.
            self.orders.send_if_modified(|orders| match orders.wants.get_mut(topic) {
                Some(wanted) => std::mem::replace(wanted, next.clone()) != next,
                None => false,
            });
        }
        Ok(())
    }

    /// Gives up every partition as soon as what is open there has ended.
    pub(crate) fn leave(&self, deadline: Option<Instant>) {
        self.orders.send_modify(|orders| {
            orders.wants.clear();
            orders.leaving = Some(deadline);
        });
    }

    pub(super) fn consumer(
        &self,
        topic: &Topic,
        place: u32,
        wanted: &Wanted,
    ) -> Result<Consumer, BrokerError> {
        let partition = wanted.partition(place);
        Consumer::new(&self.topics, &self.settings, &self.group, topic, partition, &wanted.stream)
    }

    /// Keeps the leases until the member has left with nothing in its hands. Does nothing before
    /// the first topic.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut orders = self.orders.subscribe();
        let is_needed = |orders: &Orders| !orders.wants.is_empty() || orders.leaving.is_some();
        if orders.wait_for(is_needed).await.is_ok_and(|orders| orders.wants.is_empty()) {
            return;
        }
        let store = loop {
            match self.bucket().await {
                Ok(store) => {
                    self.link.symptoms.clear(SymptomKind::GroupUnsettled, None);
                    break store;
                }
                Err(reason) => {
                    tracing::warn!(reason = %excerpt::error(&reason), "the bucket of leases cannot be opened");
                    self.link.symptoms.note(SymptomKind::GroupUnsettled, None, reason);
                }
            }
            if orders.borrow().leaving.is_some() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        };
        Watcher::new(self, store, orders).run().await;
    }

    /// The bucket of leases, as the client of now sees it.
    pub(super) async fn find_bucket(&self) -> Result<Store, KeyValueError> {
        self.link.jetstream().get_key_value(BUCKET).await
    }

    async fn bucket(&self) -> Result<Store, String> {
        if let Ok(store) = self.find_bucket().await {
            return Ok(store);
        }
        let config = kv::Config {
            bucket: BUCKET.to_owned(),
            description: "buslane: who reads which partition".to_owned(),
            history: 1,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..kv::Config::default()
        };
        self.link.jetstream().create_key_value(config).await.map_err(|error| error.to_string())
    }
}
