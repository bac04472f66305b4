//! The limits that messages pass on their way to the pool: rates of the topic, of the bus and of
//! recovery mode, and the concurrency of a subscription.

use crate::{
    BusError,
    config::{LimitsConfig, RateLimit},
    rate_limiter::RateLimiter,
};
use buslane_core::Topic;
use metrics::Counter;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The rate limits of the messages that a bus handles.
pub(crate) struct Rates {
    /// The limit of all topics together.
    pub(crate) bus: RateLimiter,
    /// The limits of single topics. Looked up when a subscription begins, or a limit changes.
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

    /// A limit whose waits are counted with the others.
    pub(crate) fn limiter(&self, limit: Option<RateLimit>) -> RateLimiter {
        RateLimiter::new(limit, self.waits.clone())
    }
}

/// Admits the messages of one source.
pub(super) struct Admission<'a> {
    permits: Option<&'a Arc<Semaphore>>,
    rates: [&'a RateLimiter; 3],
    /// Messages that each rate has granted and another limit has not admitted yet.
    granted: [usize; 3],
}

/// Messages that may go to the pool now.
pub(super) struct Admitted {
    pub(super) count: usize,
    /// One for each message, where the subscription has a concurrency limit.
    pub(super) permits: Vec<OwnedSemaphorePermit>,
}

impl<'a> Admission<'a> {
    pub(super) const fn new(
        permits: Option<&'a Arc<Semaphore>>,
        rates: [&'a RateLimiter; 3],
    ) -> Self {
        Self { permits, rates, granted: [0; 3] }
    }

    /// Whether no limit is set. Costs four loads a batch.
    pub(super) fn is_open(&self) -> bool {
        self.permits.is_none() && !self.rates.iter().any(|rate| rate.is_on())
    }

    /// Waits until at least one of `most` messages may go.
    ///
    /// # Cancel safety
    /// Cancelling returns the permits, and loses the messages that a rate had granted.
    pub(super) async fn admit(&mut self, most: usize) -> Admitted {
        let mut permits = Vec::new();
        let mut count = most;
        if let Some(all) = self.permits {
            permits.extend(Arc::clone(all).acquire_owned().await);
            while permits.len() < most
                && let Ok(permit) = Arc::clone(all).try_acquire_owned()
            {
                permits.push(permit);
            }
            count = permits.len();
        }
        for (rate, granted) in self.rates.iter().zip(&mut self.granted) {
            if *granted == 0 {
                let passed = rate.pass(1, count).await;
                *granted = passed.guard.map_or(0, |_guard| passed.count);
            }
            if *granted > 0 {
                count = count.min(*granted);
            }
        }
        for granted in &mut self.granted {
            *granted = granted.saturating_sub(count);
        }
        permits.truncate(count);
        Admitted { count, permits }
    }
}

/// The permits of a subscription with this concurrency limit.
pub(crate) fn permits(concurrency: Option<usize>) -> Option<Arc<Semaphore>> {
    concurrency.map(|messages| Arc::new(Semaphore::new(messages.min(Semaphore::MAX_PERMITS))))
}
