//! What a source's messages pass before the pool: the limits of its subscription, of the bus, and
//! of recovery mode.

use super::{Flow, Subscribed};
use buslane_core::{Outcome, Settle, Settlement};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets the messages of one source through.
#[derive(Default)]
pub(super) struct Gate {
    /// What each rate has granted and another one has not let through yet.
    granted: [usize; 3],
}

/// Messages that may go now.
pub(super) struct Admitted {
    pub(super) count: usize,
    /// A place for each, where the subscription has so many.
    places: Vec<OwnedSemaphorePermit>,
}

impl Gate {
    /// Whether nothing is limited. Four loads, once a batch.
    pub(super) fn is_open(flow: &Flow, subscribed: &Subscribed) -> bool {
        subscribed.places.is_none()
            && !subscribed.rate.is_on()
            && !flow.rate.is_on()
            && !flow.operations.recovery_rate.is_on()
    }

    /// Waits until at least one of `most` messages may go.
    ///
    /// # Cancel safety
    /// Cancelling gives places back, and loses what a rate had granted.
    pub(super) async fn admit(
        &mut self,
        flow: &Flow,
        subscribed: &Subscribed,
        most: usize,
    ) -> Admitted {
        let mut places = Vec::new();
        let mut count = most;
        if let Some(all) = &subscribed.places {
            places.extend(Arc::clone(all).acquire_owned().await);
            while places.len() < most
                && let Ok(place) = Arc::clone(all).try_acquire_owned()
            {
                places.push(place);
            }
            count = places.len();
        }
        let rates = [&*subscribed.rate, &flow.rate, &flow.operations.recovery_rate];
        for (rate, granted) in rates.iter().zip(&mut self.granted) {
            if *granted == 0 {
                let passed = rate.pass(1, count).await;
                *granted = passed.turn.map_or(0, |_turn| passed.count);
            }
            if *granted > 0 {
                count = count.min(*granted);
            }
        }
        for granted in &mut self.granted {
            *granted = granted.saturating_sub(count);
        }
        places.truncate(count);
        Admitted { count, places }
    }
}

impl Admitted {
    /// Ties the next message's place, if there is one, to its settlement, which frees it when it is
    /// used up.
    pub(super) fn hold(&mut self, settlement: Settlement) -> Settlement {
        struct Held(Mutex<Option<(Settlement, OwnedSemaphorePermit)>>);
        impl Settle for Held {
            fn settle(&self, _: u64, outcome: Outcome) {
                if let Some((settlement, _place)) = self.0.lock().take() {
                    settlement.settle(outcome);
                }
            }
        }
        match self.places.pop() {
            None => settlement,
            Some(place) => {
                let is_last = settlement.is_last();
                Settlement::new(Arc::new(Held(Mutex::new(Some((settlement, place))))), 0)
                    .last(is_last)
            }
        }
    }
}

/// The places of a subscription that may have so many messages admitted and not ended.
pub(crate) fn places(concurrency: Option<usize>) -> Option<Arc<Semaphore>> {
    concurrency.map(|messages| Arc::new(Semaphore::new(messages.min(Semaphore::MAX_PERMITS))))
}
