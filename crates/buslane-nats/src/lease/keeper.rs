//! This member's place in its group: what it is to read, and the bucket where that is settled. What happens there is the
//! [`watcher`](super::watcher)'s.

use super::watcher::Watcher;
use crate::{config::ConsumerConfig, consumers::Consumer, link::Link, readers::Readers, topics::Topics};
use async_nats::jetstream::{
    kv::{self, Store},
    stream::StorageType,
};
use buslane_core::{BrokerError, SymptomKind, Topic};
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

/// A topic with partitions that this member reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) partitions: u32,
    pub(crate) stream: String,
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

    /// Reads a topic's partitions, as many as are this member's share. Each has its durable consumer first.
    ///
    /// # Errors
    /// What the server refuses.
    pub(crate) async fn want(&self, topic: &Topic, wanted: Wanted) -> Result<(), BrokerError> {
        let consumers = (0..wanted.partitions).map(|partition| self.consumer(topic, partition, &wanted.stream));
        let consumers = consumers.collect::<Result<Vec<Consumer>, _>>()?;
        try_join_all(consumers.iter().map(|consumer| consumer.ensure(&self.link, 0))).await?;
        self.orders.send_modify(|orders| drop(orders.wants.insert(topic.clone(), wanted)));
        Ok(())
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
        let _ = tokio::time::timeout(self.link.request_timeout, obeyed.wait_for(|obeyed| *obeyed >= version)).await;
    }

    /// The topic has more partitions.
    pub(crate) async fn grow(&self, topic: &Topic, partitions: u32) -> Result<(), BrokerError> {
        let present = self.orders.borrow().wants.get(topic).cloned();
        match present {
            Some(wanted) if wanted.partitions < partitions => self.want(topic, Wanted { partitions, ..wanted }).await,
            _ => Ok(()),
        }
    }

    /// Gives up every partition as soon as what is open there has ended.
    pub(crate) fn leave(&self, deadline: Option<Instant>) {
        self.orders.send_modify(|orders| {
            orders.wants.clear();
            orders.leaving = Some(deadline);
        });
    }

    pub(super) fn consumer(&self, topic: &Topic, partition: u32, stream: &str) -> Result<Consumer, BrokerError> {
        Consumer::new(&self.topics, &self.settings, &self.group, topic, Some(partition), stream)
    }

    /// Keeps the leases until the member has left with nothing in its hands. Does nothing before the first topic.
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
                    tracing::warn!(reason, "the bucket of leases cannot be opened");
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

    async fn bucket(&self) -> Result<Store, String> {
        if let Ok(store) = self.link.jetstream().get_key_value(BUCKET).await {
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
