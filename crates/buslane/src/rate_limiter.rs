//! A rate limit that several callers share, and that may change while they wait.
//!
//! Waiting callers pass in the order of their calls, so that the publishes of one caller keep their
//! order.

use crate::config::RateLimit;
use arc_swap::ArcSwapOption;
use governor::{
    Quota, RateLimiter as TokenBucket,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use metrics::Counter;
use std::{num::NonZeroU32, sync::Arc, time::Instant};
use tokio::{
    select,
    sync::{Mutex, Notify, OwnedMutexGuard},
    time::sleep,
};

/// A rate limit, or none.
pub(crate) struct RateLimiter {
    limiter: ArcSwapOption<Limiter>,
    changed: Notify,
    /// Calls that had to wait.
    waits: Counter,
}

struct Limiter {
    limit: RateLimit,
    bucket: TokenBucket<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Instant>>,
    queue: Arc<Mutex<()>>,
}

/// The clock that the runtime sleeps by, so that a test can pause it.
#[derive(Debug, Clone, Copy)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        crate::process::now()
    }
}

/// The head of the queue of a rate limit: the next caller waits until the guard is dropped.
pub(crate) type FairGuard = OwnedMutexGuard<()>;

/// What a rate limit admits.
pub(crate) struct Passed {
    /// Messages that may go now.
    pub(crate) count: usize,
    /// `None` where there is no limit.
    pub(crate) guard: Option<FairGuard>,
}

impl RateLimiter {
    /// Expects a checked limit: a bucket without room would admit nothing.
    pub(crate) fn new(limit: Option<RateLimit>, waits: Counter) -> Self {
        let limiter = limit.and_then(Limiter::new);
        Self { limiter: ArcSwapOption::new(limiter), changed: Notify::new(), waits }
    }

    /// Replaces the limit, also for callers that wait. Setting the same limit changes nothing.
    pub(crate) fn set(&self, limit: Option<RateLimit>) {
        if self.limit() != limit {
            self.limiter.store(limit.and_then(Limiter::new));
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn limit(&self) -> Option<RateLimit> {
        self.limiter.load().as_ref().map(|limiter| limiter.limit)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.limiter.load().is_some()
    }

    /// Waits until `least` messages may go, and admits as many as may go then, at most `most`.
    ///
    /// # Cancel safety
    /// A cancelled wait loses its granted messages: other callers wait until the bucket has
    /// refilled.
    pub(crate) async fn pass(&self, least: usize, most: usize) -> Passed {
        let (mut count, mut has_waited) = (0, false);
        loop {
            // Created before the limiter is loaded, so that a change after the load wakes it.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            let Some(limiter) = self.limiter.load_full() else {
                return Passed { count: most, guard: None };
            };
            let guard = select! {
                biased;
                guard = Arc::clone(&limiter.queue).lock_owned() => guard,
                () = &mut changed => continue,
            };
            loop {
                let early = loop {
                    if count == most {
                        return Passed { count, guard: Some(guard) };
                    }
                    match limiter.bucket.check() {
                        Ok(()) => count += 1,
                        Err(early) => break early,
                    }
                };
                if count >= least {
                    return Passed { count, guard: Some(guard) };
                }
                if !std::mem::replace(&mut has_waited, true) {
                    self.waits.increment(1);
                }
                select! {
                    biased;
                    () = &mut changed => break,
                    () = sleep(early.wait_time_from(RuntimeClock.now())) => {}
                }
            }
        }
    }
}

impl Limiter {
    fn new(limit: RateLimit) -> Option<Arc<Self>> {
        let (rate, burst) = (NonZeroU32::new(limit.per_second)?, NonZeroU32::new(limit.burst)?);
        let quota = Quota::per_second(rate).allow_burst(burst);
        let bucket = TokenBucket::direct_with_clock(quota, RuntimeClock);
        Some(Arc::new(Self { limit, bucket, queue: Arc::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::Future, time::Duration};

    fn limiter(per_second: u32, burst: u32) -> Arc<RateLimiter> {
        Arc::new(RateLimiter::new(Some(RateLimit::new(per_second, burst)), Counter::noop()))
    }

    /// Runs on paused time, and returns how long it took.
    fn timed<F: Future<Output = ()>>(run: impl FnOnce() -> F) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = tokio::time::Instant::now();
            run().await;
            start.elapsed()
        })
    }

    #[test]
    fn b8_a_burst_goes_at_once_and_the_rest_at_the_rate() {
        for (per_second, burst, messages, expected) in
            [(10, 5, 5, 0), (10, 5, 25, 2_000), (1_000, 100, 2_100, 2_000), (1, 1, 4, 3_000)]
        {
            let took = timed(|| async move {
                assert_eq!(
                    limiter(per_second, burst).pass(messages, messages).await.count,
                    messages
                );
            });
            let expected = Duration::from_millis(expected);
            // Timers of the runtime tick in milliseconds.
            assert!(
                took >= expected && took <= expected + Duration::from_millis(5),
                "{took:?} for {messages}"
            );
        }
    }

    #[test]
    fn b8_without_a_limit_everything_goes_and_with_one_as_much_as_may() {
        timed(|| async {
            let limiter = limiter(10, 5);
            assert_eq!(limiter.pass(1, 3).await.count, 3);
            assert_eq!(limiter.pass(1, 100).await.count, 2);
            assert_eq!(limiter.pass(1, 100).await.count, 1, "after a wait");
            limiter.set(None);
            let Passed { count, guard } = limiter.pass(1, 100).await;
            assert!((count, guard.is_none()) == (100, true) && !limiter.is_on());
        });
    }

    #[test]
    fn b8_a_change_counts_for_those_who_wait() {
        let took = timed(|| async {
            let limiter = limiter(1, 1);
            limiter.pass(1, 1).await;
            let first = tokio::spawn({
                let limiter = Arc::clone(&limiter);
                async move { limiter.pass(1_000, 1_000).await.count }
            });
            let second = tokio::spawn({
                let limiter = Arc::clone(&limiter);
                async move { limiter.pass(1_000, 1_000).await.count }
            });
            sleep(Duration::from_millis(1)).await;
            limiter.set(Some(RateLimit::new(1_000_000, 1_000_000)));
            assert_eq!((first.await.unwrap(), second.await.unwrap()), (1_000, 1_000));
        });
        assert!(took < Duration::from_millis(10), "{took:?}");
    }

    #[test]
    fn b8_who_came_first_goes_first_however_much_it_is() {
        timed(|| async {
            let limiter = limiter(1_000, 10);
            let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
            let mut waiting = Vec::new();
            for (number, messages) in [50, 1, 30, 1].into_iter().enumerate() {
                let (limiter, order) = (Arc::clone(&limiter), Arc::clone(&order));
                waiting.push(tokio::spawn(async move {
                    let passed = limiter.pass(messages, messages).await;
                    order.lock().push(number);
                    drop(passed);
                }));
                tokio::task::yield_now().await;
            }
            for waiting in waiting {
                waiting.await.unwrap();
            }
            assert_eq!(*order.lock(), [0, 1, 2, 3]);
        });
    }

    #[test]
    fn b8_waits_are_counted_once_each() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let waits = metrics::with_local_recorder(&recorder, || metrics::counter!("waits"));
        let page = recorder.handle();
        timed(|| async move {
            let limiter = RateLimiter::new(Some(RateLimit::new(10, 5)), waits);
            limiter.pass(5, 5).await;
            limiter.pass(3, 3).await;
            limiter.pass(1, 1).await;
        });
        assert!(page.render().contains("waits 2"), "{}", page.render());
    }
}
