//! The task that looks at the clock and asks the broker. It decides nothing: that is for the rules.

use super::{BusEvent, Operations};
use crate::{
    asked::{Asked, answer},
    bus::InFlightPublishes,
    clock::now,
    state::{BusState, TaskGuard},
};
use buslane_core::{Broker, Lag, excerpt};
use parking_lot::Mutex;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};
use tracing::{error, warn};

/// Time between two looks at new sources, as long as the broker does not know them.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// So much longer than the last look took does the next one at new sources wait: while thousands of
/// them come, looking at all that are there takes a small share of the time.
const REST: u32 = 4;

/// Called with each event.
pub(crate) type EventCallback = Arc<dyn Fn(&BusEvent) + Send + Sync>;

/// Watches over a bus until nothing is read any more.
pub(crate) async fn monitor(
    operations: Arc<Operations>,
    broker: Arc<dyn Broker>,
    state: Arc<BusState>,
    outgoing: Arc<InFlightPublishes>,
    interval: Duration,
    mut events: mpsc::Receiver<BusEvent>,
    callbacks: Arc<Mutex<Vec<EventCallback>>>,
) {
    let _guard = TaskGuard::new(&state);
    let mut checks = interval_at(Instant::now() + interval, interval);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking: Asked<'_, Vec<Lag>> = None;
    let (mut is_check, mut is_known, mut look_at) = (false, true, None);
    let (mut asked, mut rested) = (Instant::now(), Instant::now());
    loop {
        let ramp = operations.next_tick().map(Instant::from_std);
        let patience = operations.arrivals.patience();
        tokio::select! {
            biased;
            () = state.reading.cancelled() => break,
            Some(event) = events.recv() => call(&callbacks, &event),
            () = until(ramp) => operations.tick(now()),
            () = operations.retimed.notified() => {}
            () = until(patience) => operations.arrivals.give_up(Instant::now()),
            lags = answer(&mut asking) => {
                asking = None;
                let is_check = std::mem::take(&mut is_check);
                let was_known = std::mem::replace(&mut is_known, lags.is_ok());
                match lags {
                    Ok(lags) => operations.observe(&lags, is_check, now()),
                    // A check without an answer says nothing, neither good nor bad.
                    Err(error) if was_known => warn!(backend = %broker.backend(), error = %excerpt::error(&error), "lag not known"),
                    Err(_) => {}
                }
                rested = Instant::now() + REST * asked.elapsed();
                look_at = operations.arrivals.patience().map(|_| rested.max(Instant::now() + LOOK_AGAIN));
            }
            _ = checks.tick() => {
                let (depth, latency) = outgoing.look();
                operations.observe_publishing(depth, latency);
                is_check = true;
                if asking.is_none() {
                    asked = Instant::now();
                    asking = Some(broker.lag());
                }
            }
            () = operations.arrivals.more.notified() => look_at = Some(rested.max(Instant::now())),
            () = until(look_at), if asking.is_none() => {
                look_at = None;
                asked = Instant::now();
                asking = Some(broker.lag());
            }
        }
    }
    operations.arrivals.close();
    // What has happened until now is told.
    while let Ok(event) = events.try_recv() {
        call(&callbacks, &event);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn call(callbacks: &Mutex<Vec<EventCallback>>, event: &BusEvent) {
    let callbacks = callbacks.lock().clone();
    for callback in callbacks {
        if catch_unwind(AssertUnwindSafe(|| callback(event))).is_err() {
            error!(event = event.name(), "event callback panicked");
        }
    }
}
