//! Limits of one subscription: rate, and messages at the same time.

use buslane_core::{Outcome, Settle, Settlement};
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use parking_lot::Mutex;
use std::{num::NonZeroU32, sync::Arc};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// The limits of a subscription; none by default.
#[derive(Default)]
pub(crate) struct Limits {
    rate: Option<DefaultDirectRateLimiter>,
    concurrency: Option<Arc<Semaphore>>,
}

impl Limits {
    /// At most `rate` messages a second with bursts of `burst`, and at most `concurrency` messages that are admitted
    /// and have not ended.
    pub(crate) fn new(rate: Option<(NonZeroU32, NonZeroU32)>, concurrency: Option<usize>) -> Self {
        Self {
            rate: rate.map(|(rate, burst)| RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))),
            concurrency: concurrency.map(|permits| Arc::new(Semaphore::new(permits))),
        }
    }

    /// Whether there is any limit.
    pub(crate) const fn any(&self) -> bool {
        self.rate.is_some() || self.concurrency.is_some()
    }

    /// Waits until one more message may go, and returns its settlement, which frees its place when it is used up.
    ///
    /// # Cancel safety
    /// Cancelling drops the settlement: the message is delivered again.
    pub(crate) async fn admit(&self, settlement: Settlement) -> Settlement {
        let settlement = match &self.concurrency {
            None => settlement,
            Some(places) => match Arc::clone(places).acquire_owned().await {
                Ok(place) => hold(settlement, place),
                Err(_closed) => settlement,
            },
        };
        if let Some(rate) = &self.rate {
            while let Err(early) = rate.check() {
                sleep(early.wait_time_from(DefaultClock::default().now())).await;
            }
        }
        settlement
    }
}

/// Ties a place to a settlement.
fn hold(settlement: Settlement, place: OwnedSemaphorePermit) -> Settlement {
    struct Held(Mutex<Option<(Settlement, OwnedSemaphorePermit)>>);
    impl Settle for Held {
        fn settle(&self, _: u64, outcome: Outcome) {
            if let Some((settlement, _place)) = self.0.lock().take() {
                settlement.settle(outcome);
            }
        }
    }
    Settlement::new(Arc::new(Held(Mutex::new(Some((settlement, place))))), 0)
}
