//! The subscriptions by topic: a snapshot that readers load without a lock.

use super::{attempt::Erased, shadow::Shadow};
use crate::{
    BusError, health::Pauses, metrics::SubscriptionMetrics, process, rate_limiter::RateLimiter,
};
use arc_swap::ArcSwap;
use buslane_core::{Headers, Kind, Layered, SubscribeOptions, Topic};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Instant};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Finds the key of a message in its headers and body. `None` and an empty key send the message
/// round-robin; a panic is logged, and the message gets the key that it has without an extractor.
pub type Extractor = Arc<dyn Fn(&Headers, &Bytes) -> Option<Bytes> + Send + Sync>;

/// One subscription, as the flow uses it.
pub(crate) struct Subscribed {
    pub(crate) topic: Topic,
    pub(crate) kind: Kind,
    pub(crate) handler: Arc<Erased>,
    pub(crate) metrics: Arc<SubscriptionMetrics>,
    /// Runs some of the messages a second time.
    pub(crate) shadow: Option<Shadow>,
    pub(crate) extractor: Option<Extractor>,
    /// Whether messages of a key keep their order; otherwise they go round-robin.
    pub(crate) ordered: bool,
    /// The rate at which its messages are handled.
    pub(crate) rate: Arc<RateLimiter>,
    /// A permit for each message in the pool; `None` without a concurrency limit.
    pub(crate) permits: Option<Arc<Semaphore>>,
    pub(crate) options: SubscribeOptions,
    /// The topic with the logs of its parked keys; `None` if it parks none.
    pub(crate) parking: Option<Topic>,
    pub(crate) pause: Pause,
    /// The sources that are read for the subscription.
    pub(crate) readers: TaskTracker,
    /// Cancelled when the subscription ends.
    pub(crate) gone: CancellationToken,
}

/// Whether the messages of a subscription wait.
pub(crate) struct Pause(watch::Sender<Option<Instant>>);

impl Default for Pause {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Pause {
    /// Pauses or resumes. A pause that is already on keeps its time.
    pub(crate) fn set(&self, is_on: bool) {
        let now = process::now();
        self.0.send_modify(|since| *since = is_on.then(|| since.unwrap_or(now)));
    }

    pub(crate) fn is_on(&self) -> bool {
        self.since().is_some()
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Waits until the pause ends.
    pub(crate) async fn over(&self) {
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

impl Pauses for Registry {
    fn paused(&self) -> Vec<(Topic, Instant)> {
        let since = |of: &Arc<Subscribed>| Some((of.topic.clone(), of.pause.since()?));
        self.all().iter().filter_map(since).collect()
    }
}

type Snapshot = Layered<Topic, Arc<Subscribed>>;

/// The subscriptions of a bus.
pub(crate) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    /// The pumps that wait for a handler, by topic: a new subscription wakes only the pumps of its
    /// topic. Writers of the snapshot hold the same lock.
    waiting: Mutex<HashMap<Topic, Vec<oneshot::Sender<Arc<Subscribed>>>>>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { snapshot: ArcSwap::default(), waiting: Mutex::default() }
    }

    pub(crate) fn get(&self, topic: &Topic) -> Option<Arc<Subscribed>> {
        self.snapshot.load().get(topic).cloned()
    }

    /// All subscriptions.
    pub(crate) fn all(&self) -> Vec<Arc<Subscribed>> {
        self.snapshot.load().iter().map(|(_, subscribed)| Arc::clone(subscribed)).collect()
    }

    pub(crate) fn insert(&self, subscribed: Arc<Subscribed>) -> Result<(), BusError> {
        let mut waiting = self.waiting.lock();
        let mut next = Snapshot::clone(&self.snapshot.load());
        if next.get(&subscribed.topic).is_some() {
            return Err(BusError::AlreadySubscribed(subscribed.topic.clone()));
        }
        next.insert(subscribed.topic.clone(), Arc::clone(&subscribed));
        self.snapshot.store(Arc::new(next));
        for waits in waiting.remove(&subscribed.topic).into_iter().flatten() {
            let _ = waits.send(Arc::clone(&subscribed));
        }
        Ok(())
    }

    /// Removes and returns the subscription of a topic; with `only`, nothing but that subscription.
    pub(crate) fn remove(
        &self,
        topic: &Topic,
        only: Option<&Arc<Subscribed>>,
    ) -> Option<Arc<Subscribed>> {
        let _one_at_a_time = self.waiting.lock();
        let mut next = Snapshot::clone(&self.snapshot.load());
        next.get(topic).filter(|found| only.is_none_or(|only| Arc::ptr_eq(only, found)))?;
        let removed = next.remove(topic)?;
        self.snapshot.store(Arc::new(next));
        removed.gone.cancel();
        Some(removed)
    }

    pub(crate) fn clear(&self) {
        let _one_at_a_time = self.waiting.lock();
        let all = self.snapshot.swap(Arc::default());
        all.iter().for_each(|(_, subscribed)| subscribed.gone.cancel());
    }

    /// Waits until the topic has a handler.
    pub(crate) async fn wait_for(&self, topic: &Topic) -> Arc<Subscribed> {
        let coming = {
            let mut waiting = self.waiting.lock();
            if let Some(subscribed) = self.get(topic) {
                return subscribed;
            }
            let (told, coming) = oneshot::channel();
            let waiting = waiting.entry(topic.clone()).or_default();
            // The pumps of sources that have ended do not wait any more.
            waiting.retain(|waits| !waits.is_closed());
            waiting.push(told);
            coming
        };
        match coming.await {
            Ok(subscribed) => subscribed,
            Err(_) => std::future::pending().await,
        }
    }
}
