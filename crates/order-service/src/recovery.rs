//! What the run has seen of recovery mode, and how it is made to fit into a short run.

use buslane::{
    BusEvent, Config, EventBus, RateLimit, RecoveryPhase,
    config::{BacklogConfig, RecoveryConfig},
};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What the report says of it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) entered: u64,
    pub(crate) left: u64,
    /// Time that it was on.
    pub(crate) seconds: f64,
}

/// Listens to a bus.
#[derive(Clone, Default)]
pub(crate) struct Recoveries(Arc<Mutex<(Summary, Option<Instant>)>>);

impl Recoveries {
    pub(crate) fn of(bus: &EventBus) -> Self {
        let recoveries = Self::default();
        let into = recoveries.clone();
        bus.on_event(move |event| into.hear(event));
        recoveries
    }

    fn hear(&self, event: &BusEvent) {
        let BusEvent::Recovery { before, now } = event else { return };
        let (summary, since) = &mut *self.0.lock();
        match (before, now.phase) {
            (RecoveryPhase::Off, _) => {
                summary.entered += 1;
                *since = Some(Instant::now());
            }
            (_, RecoveryPhase::Off) => {
                summary.left += 1;
                summary.seconds += since.take().map_or(0.0, |since| since.elapsed().as_secs_f64());
            }
            _ => {}
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let (mut summary, since) = *self.0.lock();
        summary.seconds += since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        summary
    }
}

/// Where nobody has configured it: 20,000 messages a second, a look every second, a ramp of 5
/// seconds.
pub(crate) fn hasten(config: &mut Config) {
    if config.recovery == RecoveryConfig::default() && config.backlog == BacklogConfig::default() {
        config.recovery.rate = Some(RateLimit::new(20_000, 2_000));
        config.recovery.ramp = Duration::from_secs(5);
        config.backlog.check_interval = Duration::from_secs(1);
        // What is spread over many partitions is a backlog too.
        config.backlog.messages = 100;
    }
}
