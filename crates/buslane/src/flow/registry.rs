//! Who handles which topic: a snapshot that readers load without a lock.

use super::{Erased, Extractor, Shadow, Throttle};
use crate::{BusError, clock};
use arc_swap::ArcSwap;
use buslane_core::{Kind, SubscribeOptions, Topic};
use std::{collections::HashMap, sync::Arc, time::Instant};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

/// One subscription, as the flow uses it.
pub(crate) struct Subscribed {
    pub(crate) topic: Topic,
    pub(crate) kind: Kind,
    pub(crate) handler: Arc<Erased>,
    /// Runs some of its messages a second time.
    pub(crate) shadow: Option<Shadow>,
    pub(crate) extractor: Option<Extractor>,
    /// Whether messages of a key keep their order; else they go round-robin.
    pub(crate) ordered: bool,
    /// How much of it is handled.
    pub(crate) rate: Arc<Throttle>,
    /// Places of messages that are admitted and have not ended; `None` for any number.
    pub(crate) places: Option<Arc<Semaphore>>,
    pub(crate) options: SubscribeOptions,
    pub(crate) pause: Pause,
    /// Sources that are being read for it.
    pub(crate) readers: TaskTracker,
}

/// Whether the messages of a subscription wait.
pub(crate) struct Pause(watch::Sender<Option<Instant>>);

impl Default for Pause {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Pause {
    /// Pauses, or lets go on. What is paused already keeps its time.
    pub(crate) fn set(&self, is_on: bool) {
        let now = clock::now();
        self.0.send_modify(|since| *since = is_on.then(|| since.unwrap_or(now)));
    }

    pub(crate) fn is_on(&self) -> bool {
        self.since().is_some()
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Waits until it goes on.
    pub(crate) async fn over(&self) {
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
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

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Subscribed>> {
        self.snapshot.load().values().cloned().collect()
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
