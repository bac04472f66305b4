//! Who handles which topic: a snapshot that readers load without a lock.

use super::{Erased, Extractor, Limits};
use crate::BusError;
use arc_swap::ArcSwap;
use buslane_core::{Kind, SubscribeOptions, Topic};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// One subscription, as the flow uses it.
pub(crate) struct Subscribed {
    pub(crate) topic: Topic,
    pub(crate) kind: Kind,
    pub(crate) handler: Arc<Erased>,
    pub(crate) extractor: Option<Extractor>,
    /// Whether messages of a key keep their order; else they go round-robin.
    pub(crate) ordered: bool,
    pub(crate) limits: Limits,
    pub(crate) options: SubscribeOptions,
    /// Sources that are being read for it.
    pub(crate) readers: TaskTracker,
}

type Snapshot = HashMap<Topic, Arc<Subscribed>>;

/// The subscriptions of a bus.
pub(crate) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    /// Counts changes, for those who wait for a topic's handler; also the writers' lock.
    changes: watch::Sender<u64>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { snapshot: ArcSwap::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn get(&self, topic: &Topic) -> Option<Arc<Subscribed>> {
        self.snapshot.load().get(topic).cloned()
    }

    pub(crate) fn insert(&self, subscribed: Arc<Subscribed>) -> Result<(), BusError> {
        let mut result = Ok(());
        self.change(|snapshot| {
            if snapshot.contains_key(&subscribed.topic) {
                result = Err(BusError::AlreadySubscribed(subscribed.topic.clone()));
            } else {
                snapshot.insert(subscribed.topic.clone(), Arc::clone(&subscribed));
            }
        });
        result
    }

    /// Removes the subscription of a topic; of this very one when it is given. Returns what was removed.
    pub(crate) fn remove(&self, topic: &Topic, only: Option<&Arc<Subscribed>>) -> Option<Arc<Subscribed>> {
        let mut removed = None;
        self.change(|snapshot| {
            let is_meant = |found: &Arc<Subscribed>| only.is_none_or(|only| Arc::ptr_eq(only, found));
            removed = if snapshot.get(topic).is_some_and(is_meant) { snapshot.remove(topic) } else { None };
        });
        removed
    }

    pub(crate) fn clear(&self) {
        self.change(Snapshot::clear);
    }

    /// Waits until the topic has a handler.
    pub(crate) async fn wait_for(&self, topic: &Topic) -> Arc<Subscribed> {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(subscribed) = self.get(topic) {
                return subscribed;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until `subscribed` is not the subscription of its topic any more.
    pub(crate) async fn wait_until_gone(&self, subscribed: &Arc<Subscribed>) {
        let mut changes = self.changes.subscribe();
        while self.get(&subscribed.topic).is_some_and(|now| Arc::ptr_eq(&now, subscribed)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writers are serialised by the watch channel's own lock; readers see the old or the new snapshot.
    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        self.changes.send_modify(|version| {
            let mut next = Snapshot::clone(&self.snapshot.load());
            change(&mut next);
            self.snapshot.store(Arc::new(next));
            *version += 1;
        });
    }
}
