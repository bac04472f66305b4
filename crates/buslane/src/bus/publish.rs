//! Publishing: records pass the rate limits, go to the broker and wait for its answers.

use super::{Inner, publish_targets::PublishTarget};
use crate::{
    config::{LimitsConfig, RateLimit},
    rate_limiter::{FairGuard, RateLimiter},
};
use arc_swap::ArcSwapOption;
use buslane_core::{Answer, BoxFuture, PublishError, Receipt, Record, Topic};
use metrics::Counter;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// Sends records to the broker, and returns one answer for each.
pub(super) async fn send(
    inner: &Inner,
    PublishTarget { topic, metrics }: &PublishTarget,
    mut records: Vec<Record>,
) -> Vec<Result<Receipt, PublishError>> {
    let started = metrics.begin();
    let count = records.len();
    if let Some(context) = inner.flow.services.trace() {
        for record in records.iter_mut().filter(|record| !record.has_trace()) {
            *record = std::mem::take(record).with_trace(&context);
        }
    }
    let permit = match inner.publish_limits.get() {
        None => None,
        Some(limits) => {
            match Box::pin(limits.pass(topic, count, inner.config.publish_timeout)).await {
                Ok(permit) => Some(permit),
                Err(error) => return vec![Err(error); count],
            }
        }
    };
    let answer = inner.broker.publish(topic, records);
    // Only now may a later call publish: records keep the order of the calls.
    drop(permit);
    let receipts = match answer {
        Answer::Now(receipts) => receipts,
        Answer::Later(waiting) => wait_for_receipts(inner, topic, count, waiting).await,
    };
    let published = receipts.iter().filter(|receipt| receipt.is_ok()).count();
    metrics.acknowledged(published as u64, started);
    receipts
}

/// Waits for the broker's answers, at most for the publish timeout.
async fn wait_for_receipts(
    inner: &Inner,
    topic: &Topic,
    count: usize,
    waiting: BoxFuture<'_, Vec<Result<Receipt, PublishError>>>,
) -> Vec<Result<Receipt, PublishError>> {
    inner.in_flight.within(count, waiting).await.unwrap_or_else(|_| {
        let (waited, detail) =
            (inner.config.publish_timeout, "the broker has not answered".to_owned());
        vec![Err(PublishError::Timeout { topic: topic.clone(), waited, detail }); count]
    })
}

/// The rate limits of publishing: of the bus, and of single topics.
pub(super) struct PublishLimits {
    /// `None` without a limit: then a publish pays for one load.
    limits: ArcSwapOption<Limits>,
    /// Held during a change: one at a time.
    changing: Mutex<()>,
    waits: Counter,
}

/// A snapshot of the limits.
#[derive(Clone, Default)]
pub(super) struct Limits {
    bus: Option<Arc<RateLimiter>>,
    topics: HashMap<Topic, Arc<RateLimiter>>,
}

/// Held from passing the limits until the records are sent: no later call overtakes them.
pub(super) struct PublishPermit {
    _guards: [Option<FairGuard>; 2],
}

impl PublishLimits {
    pub(super) fn new(config: &LimitsConfig, waits: Counter) -> Self {
        let limits = Self { limits: ArcSwapOption::empty(), changing: Mutex::default(), waits };
        limits.set(None, config.publish);
        for (topic, topic_limits) in &config.topics {
            if let Ok(topic) = Topic::new(topic) {
                limits.set(Some(&topic), topic_limits.publish);
            }
        }
        limits
    }

    /// Sets the limit of a topic, or of the bus.
    pub(super) fn set(&self, topic: Option<&Topic>, limit: Option<RateLimit>) {
        let _changing = self.changing.lock();
        let before = self.limits.load_full();
        let known = before.as_ref().and_then(|limits| limits.of(topic).cloned());
        if let Some(limiter) = &known {
            // Waiting calls continue with the new limit.
            limiter.set(limit);
        }
        let limiter = limit.map(|limit| known.unwrap_or_else(|| self.limiter(limit)));
        let mut next = before.map_or_else(Limits::default, |limits| Limits::clone(&limits));
        match (topic, limiter) {
            (None, limiter) => next.bus = limiter,
            (Some(topic), Some(limiter)) => drop(next.topics.insert(topic.clone(), limiter)),
            (Some(topic), None) => drop(next.topics.remove(topic)),
        }
        let is_any = next.bus.is_some() || !next.topics.is_empty();
        self.limits.store(is_any.then(|| Arc::new(next)));
    }

    fn limiter(&self, limit: RateLimit) -> Arc<RateLimiter> {
        Arc::new(RateLimiter::new(Some(limit), self.waits.clone()))
    }

    /// The limits in force; `None` without a limit.
    pub(super) fn get(&self) -> Option<Arc<Limits>> {
        self.limits.load_full()
    }
}

impl Limits {
    fn of(&self, topic: Option<&Topic>) -> Option<&Arc<RateLimiter>> {
        match topic {
            None => self.bus.as_ref(),
            Some(topic) => self.topics.get(topic),
        }
    }

    /// Waits until the limits let `records` pass to `topic`, at most for `most`. Hold the permit
    /// until the records are sent.
    ///
    /// # Errors
    /// [`PublishError::Timeout`] when that takes longer than `most`; at once where that is certain.
    pub(super) async fn pass(
        &self,
        topic: &Topic,
        records: usize,
        most: Duration,
    ) -> Result<PublishPermit, PublishError> {
        let own = self.topics.get(topic);
        let late = |whose: &str, limit: RateLimit, waited| PublishError::Timeout {
            topic: topic.clone(),
            waited,
            detail: format!(
                "{whose} lets {} messages a second through, {} at once; these are {records}",
                limit.per_second, limit.burst
            ),
        };
        let mut guards = [None, None];
        let start = Instant::now();
        let limiters = [
            ("the rate limit of the topic", own),
            ("the rate limit of the bus", self.bus.as_ref()),
        ];
        for ((whose, limiter), guard) in limiters.into_iter().zip(&mut guards) {
            let Some(limiter) = limiter else { continue };
            let Some(limit) = limiter.limit() else { continue };
            let beyond = records.saturating_sub(limit.burst as usize) as u64;
            if u128::from(beyond) * 1_000 > u128::from(limit.per_second) * most.as_millis() {
                return Err(late(whose, limit, Duration::ZERO));
            }
            let left = most.saturating_sub(start.elapsed());
            let passed = timeout(left, limiter.pass(records, records)).await;
            *guard = passed.map_err(|_| late(whose, limit, most))?.guard;
        }
        Ok(PublishPermit { _guards: guards })
    }
}
