//! Topic names that were checked once, found again without a lock or an allocation.

use crate::BusError;
use arc_swap::ArcSwap;
use buslane_core::{Layered, Topic};
use std::sync::Arc;

/// Names that are remembered. Any further name is checked and copied at each use.
const LIMIT: usize = 10_000;

/// The checked names of a bus.
pub(super) struct TopicNames(ArcSwap<Layered<Topic, ()>>);

impl TopicNames {
    pub(super) fn new() -> Self {
        Self(ArcSwap::default())
    }

    /// The checked form of a name.
    pub(super) fn get(&self, name: &str) -> Result<Topic, BusError> {
        let known = self.0.load();
        if let Some((topic, ())) = known.get_key_value(name) {
            return Ok(topic.clone());
        }
        let topic = Topic::new(name)?;
        if known.len() < LIMIT {
            self.0.rcu(|known| {
                let mut next = Layered::clone(known);
                next.insert(topic.clone(), ());
                Arc::new(next)
            });
        }
        Ok(topic)
    }
}
