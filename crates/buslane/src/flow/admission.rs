//! The limits that a source's messages pass before the pool: those of its subscription, of the bus,
//! and of recovery mode.

use super::{Flow, Subscribed};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits the messages of one source.
#[derive(Default)]
pub(super) struct Admission {
    /// Messages that each rate has granted and another limit has not admitted yet.
    granted: [usize; 3],
}

/// Messages that may go to the pool now.
pub(super) struct Admitted {
    pub(super) count: usize,
    /// One for each, where the subscription has a concurrency limit.
    pub(super) permits: Vec<OwnedSemaphorePermit>,
}

impl Admission {
    /// Whether nothing is limited. Four loads, once a batch.
    pub(super) fn is_open(flow: &Flow, subscribed: &Subscribed) -> bool {
        subscribed.permits.is_none()
            && !subscribed.rate.is_on()
            && !flow.rates.bus.is_on()
            && !flow.operations.recovery_rate.is_on()
    }

    /// Waits until at least one of `most` messages may go.
    ///
    /// # Cancel safety
    /// Cancelling gives permits back, and loses the messages that a rate had granted.
    pub(super) async fn admit(
        &mut self,
        flow: &Flow,
        subscribed: &Subscribed,
        most: usize,
    ) -> Admitted {
        let mut permits = Vec::new();
        let mut count = most;
        if let Some(all) = &subscribed.permits {
            permits.extend(Arc::clone(all).acquire_owned().await);
            while permits.len() < most
                && let Ok(permit) = Arc::clone(all).try_acquire_owned()
            {
                permits.push(permit);
            }
            count = permits.len();
        }
        let rates = [&*subscribed.rate, &flow.rates.bus, &flow.operations.recovery_rate];
        for (rate, granted) in rates.iter().zip(&mut self.granted) {
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
