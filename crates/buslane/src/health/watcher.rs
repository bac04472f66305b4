//! The task that looks at the clock and asks the broker whether it is there. It decides nothing:
//! that is for the judge.

use super::{Observed, Watch};
use crate::{
    asked::{Asked, answer},
    clock::now,
    config::HealthConfig,
    state::TaskGuard,
};
use buslane_core::Lag;
use std::{sync::Arc, time::Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Watches over the health of a bus until nothing is read any more.
pub(crate) async fn watcher(watch: Arc<Watch>, config: HealthConfig) {
    let Observed { broker, operations, state, .. } = &watch.observed;
    let _guard = TaskGuard::new(state);
    let mut ticks = interval(config.check_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let pause = config.check_interval.max(config.partition_limit / 2);
    let mut ping: Asked<'_, ()> = None;
    let mut lag: Asked<'_, Vec<Lag>> = None;
    let (mut asked, mut lag_asked, mut lag_at) = (now(), now(), now());
    loop {
        tokio::select! {
            biased;
            () = state.reading.cancelled() => break,
            answer = answer(&mut ping) => {
                ping = None;
                match answer {
                    Ok(()) => watch.answered(asked),
                    Err(_) => watch.unanswered(asked),
                }
            }
            answer = answer(&mut lag) => {
                lag = None;
                if let Ok(lags) = &answer {
                    operations.tell_lags(lags);
                }
                // What is not known is neither good nor bad.
                watch.lags(&answer.unwrap_or_default(), lag_asked);
            }
            _ = ticks.tick() => {
                let now: Instant = now();
                if ping.is_none() {
                    (asked, ping) = (now, Some(broker.ping()));
                } else if now.saturating_duration_since(asked) >= config.check_interval {
                    watch.unanswered(asked);
                }
                if lag.is_none() && now >= lag_at {
                    (lag_asked, lag_at, lag) = (now, now + pause, Some(broker.lag()));
                }
                watch.look();
            }
        }
    }
    // A bus that ends has no faults.
    watch.look();
}
