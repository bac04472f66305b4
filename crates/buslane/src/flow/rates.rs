//! How many messages a second are handled: of the bus, and of each topic.

use crate::{
    BusError,
    config::{LimitsConfig, RateLimit},
    rate_limiter::RateLimiter,
};
use buslane_core::Topic;
use metrics::Counter;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// The rate limits of the messages that a bus handles.
pub(crate) struct Rates {
    /// Of all topics together.
    pub(crate) bus: RateLimiter,
    /// Of single topics. Looked up when a subscription begins, or a limit changes.
    topics: Mutex<HashMap<Topic, Arc<RateLimiter>>>,
    waits: Counter,
}

impl Rates {
    /// The limits of a configuration; `waits` counts the waits for each of them.
    pub(crate) fn new(limits: &LimitsConfig, waits: Counter) -> Result<Self, BusError> {
        let bus = RateLimiter::new(limits.subscribe, waits.clone());
        let rates = Self { bus, topics: Mutex::default(), waits };
        for (topic, limits) in &limits.topics {
            rates.of(&Topic::new(topic)?).set(limits.subscribe);
        }
        Ok(rates)
    }

    /// The limit of a topic.
    pub(crate) fn of(&self, topic: &Topic) -> Arc<RateLimiter> {
        let mut topics = self.topics.lock();
        let rate = topics.entry(topic.clone()).or_insert_with(|| Arc::new(self.limiter(None)));
        Arc::clone(rate)
    }

    /// A limit that is counted with the others.
    pub(crate) fn limiter(&self, limit: Option<RateLimit>) -> RateLimiter {
        RateLimiter::new(limit, self.waits.clone())
    }
}
