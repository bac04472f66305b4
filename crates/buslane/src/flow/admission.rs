//! The limits that a source's messages pass before the pool: those of its subscription, of the bus,
//! and of recovery mode.

use crate::rate_limiter::RateLimiter;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    /// One for each, where the subscription has a concurrency limit.
    pub(super) permits: Vec<OwnedSemaphorePermit>,
}

impl<'a> Admission<'a> {
    pub(super) const fn new(
        permits: Option<&'a Arc<Semaphore>>,
        rates: [&'a RateLimiter; 3],
    ) -> Self {
        Self { permits, rates, granted: [0; 3] }
    }

    /// Whether nothing is limited. Four loads, once a batch.
    pub(super) fn is_open(&self) -> bool {
        self.permits.is_none() && !self.rates.iter().any(|rate| rate.is_on())
    }

    /// Waits until at least one of `most` messages may go.
    ///
    /// # Cancel safety
    /// Cancelling gives permits back, and loses the messages that a rate had granted.
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

/// The permits of a subscription that may have so many messages in the pool.
pub(crate) fn permits(concurrency: Option<usize>) -> Option<Arc<Semaphore>> {
    concurrency.map(|messages| Arc::new(Semaphore::new(messages.min(Semaphore::MAX_PERMITS))))
}
