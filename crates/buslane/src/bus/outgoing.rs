//! Records on their way to the broker: how many, and how long their answers take. And the limits
//! that they pass before.

use crate::{
    config::{LimitsConfig, RateLimit},
    rate_limiter::{FairGuard, RateLimiter},
};
use arc_swap::ArcSwapOption;
use buslane_core::{PublishError, TooLong, Topic, Waits};
use metrics::Counter;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// A broker that keeps the time itself answers first, and knows what it waited for.
const GRACE: Duration = Duration::from_millis(100);

/// What a bus has sent and the broker has not answered. Answers that are there at once are not
/// counted.
pub(crate) struct Outgoing {
    waits: Waits,
    depth: AtomicU64,
    answers: AtomicU64,
    waited_us: AtomicU64,
}

/// Some records that wait for their answer.
struct Waiting<'a> {
    outgoing: &'a Outgoing,
    records: u64,
    since: Instant,
}

impl Outgoing {
    /// Of publishes that last `most`, and a little more; calls `is_held` for each that lasts longer
    /// than `fast`.
    pub(super) fn new(
        fast: Duration,
        most: Duration,
        is_held: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let waits = Waits::new(most.saturating_add(GRACE)).noting(fast, is_held);
        Self {
            waits,
            depth: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
        }
    }

    /// Waits for the answer to some records.
    pub(super) async fn within<A>(
        &self,
        records: usize,
        answer: impl Future<Output = A>,
    ) -> Result<A, TooLong> {
        let records = records as u64;
        self.depth.fetch_add(records, Relaxed);
        let _waiting = Waiting { outgoing: self, records, since: Instant::now() };
        self.waits.within(answer).await
    }

    /// Ends the waits that last too long.
    pub(super) async fn watch(&self) {
        self.waits.watch(sleep).await;
    }

    /// Records on their way, and the mean time of the answers since the last look.
    pub(crate) fn look(&self) -> (u64, Duration) {
        let (answers, waited) = (self.answers.swap(0, Relaxed), self.waited_us.swap(0, Relaxed));
        (self.depth.load(Relaxed), Duration::from_micros(waited.checked_div(answers).unwrap_or(0)))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.outgoing.depth.fetch_sub(self.records, Relaxed);
        self.outgoing.answers.fetch_add(1, Relaxed);
        self.outgoing.waited_us.fetch_add(waited, Relaxed);
    }
}

/// How much may be published, in all and to single topics.
pub(super) struct PublishLimits {
    /// `None` where nothing is limited, which is one look a call.
    limits: ArcSwapOption<Limits>,
    /// One change at a time.
    changing: Mutex<()>,
    waits: Counter,
}

/// The limits of one moment.
#[derive(Clone, Default)]
pub(super) struct Limits {
    bus: Option<Arc<RateLimiter>>,
    topics: HashMap<Topic, Arc<RateLimiter>>,
}

/// The right to publish now, before those who came later.
pub(super) struct Turn {
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
        if let Some(throttle) = &known {
            // Who waits goes on by the new one.
            throttle.set(limit);
        }
        let throttle = limit.map(|limit| known.unwrap_or_else(|| self.throttle(limit)));
        let mut next = before.map_or_else(Limits::default, |limits| Limits::clone(&limits));
        match (topic, throttle) {
            (None, throttle) => next.bus = throttle,
            (Some(topic), Some(throttle)) => drop(next.topics.insert(topic.clone(), throttle)),
            (Some(topic), None) => drop(next.topics.remove(topic)),
        }
        let is_any = next.bus.is_some() || !next.topics.is_empty();
        self.limits.store(is_any.then(|| Arc::new(next)));
    }

    fn throttle(&self, limit: RateLimit) -> Arc<RateLimiter> {
        Arc::new(RateLimiter::new(Some(limit), self.waits.clone()))
    }

    /// Those in force, if there are any.
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

    /// Waits until `records` may be published to `topic`, `most` at most. Hold what it answers
    /// until they are on their way.
    ///
    /// # Errors
    /// [`PublishError::Timeout`] when the limits do not let so many through in that time: at once,
    /// where that is certain.
    pub(super) async fn pass(
        &self,
        topic: &Topic,
        records: usize,
        most: Duration,
    ) -> Result<Turn, PublishError> {
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
        let throttles = [
            ("the rate limit of the topic", own),
            ("the rate limit of the bus", self.bus.as_ref()),
        ];
        for ((whose, throttle), guard) in throttles.into_iter().zip(&mut guards) {
            let Some(throttle) = throttle else { continue };
            let Some(limit) = throttle.limit() else { continue };
            let beyond = records.saturating_sub(limit.burst as usize) as u64;
            if u128::from(beyond) * 1_000 > u128::from(limit.per_second) * most.as_millis() {
                return Err(late(whose, limit, Duration::ZERO));
            }
            let left = most.saturating_sub(start.elapsed());
            let passed = timeout(left, throttle.pass(records, records)).await;
            *guard = passed.map_err(|_| late(whose, limit, most))?.guard;
        }
        Ok(Turn { _guards: guards })
    }
}
