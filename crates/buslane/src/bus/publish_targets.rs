//! The topics to which a bus publishes, found by name without a lock or an allocation: the name was
//! checked once, and the metrics were bound once.

use crate::{
    BusError,
    metrics::{BusMetrics, PublishMetrics},
};
use arc_swap::ArcSwap;
use buslane_core::{Layered, Topic};
use std::sync::Arc;

/// Topics that are remembered. Any further one is checked and copied at each use.
const LIMIT: usize = 10_000;

/// The topics to which a bus has published.
pub(super) struct PublishTargets {
    known: ArcSwap<Layered<Topic, Arc<PublishMetrics>>>,
    metrics: Arc<BusMetrics>,
}

/// A topic to publish to.
pub(super) struct PublishTarget {
    pub(super) topic: Topic,
    pub(super) metrics: Arc<PublishMetrics>,
}

impl PublishTargets {
    pub(super) fn new(metrics: &Arc<BusMetrics>) -> Self {
        Self { known: ArcSwap::default(), metrics: Arc::clone(metrics) }
    }

    /// The target of this name.
    pub(super) fn get(&self, name: &str) -> Result<PublishTarget, BusError> {
        let known = self.known.load();
        if let Some((topic, metrics)) = known.get_key_value(name) {
            return Ok(PublishTarget { topic: topic.clone(), metrics: Arc::clone(metrics) });
        }
        let topic = Topic::new(name)?;
        let metrics = self.metrics.publishing(&topic);
        if known.len() < LIMIT {
            self.known.rcu(|known| {
                let mut next = Layered::clone(known);
                next.insert(topic.clone(), Arc::clone(&metrics));
                Arc::new(next)
            });
        }
        Ok(PublishTarget { topic, metrics })
    }
}
