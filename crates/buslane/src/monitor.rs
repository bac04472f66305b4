//! The background task of a bus: it alone watches the clock and asks the broker.
//!
//! It decides nothing. Each wake-up passes the time, and the broker's answers, to the rules of
//! backlog, health and rollout:
//!
//! ```text
//!   clock ────────────▶ LagSchedule ──▶ Broker::lag ──▶ backlog, health
//!         ────────────▶ health checks ─▶ Broker::ping ─▶ health
//!         ────────────▶ ramp of recovery mode, guard of the rollout, Migrator
//! ```
//!
//! Nothing in it blocks and nothing waits alone: a request that the broker never answers stays
//! pending beside everything else, and callbacks of the application run in a task of their own
//! ([`deliver_events`](crate::backlog::deliver_events)).

mod lag_schedule;

use crate::{
    backlog::BacklogControl,
    config::Config,
    health::HealthState,
    in_flight::InFlightPublishes,
    process::now,
    rollout::{Controller, Migrator},
    state::{BusState, TaskGuard},
};
use buslane_core::{BoxFuture, Broker, BrokerError, CatchPanic, Lag, excerpt};
use lag_schedule::LagSchedule;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep_until;
use tracing::warn;

/// The monitor of one bus.
pub(crate) struct Monitor {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) state: Arc<BusState>,
    pub(crate) in_flight: Arc<InFlightPublishes>,
    pub(crate) backlog: Arc<BacklogControl>,
    pub(crate) health: Arc<HealthState>,
    pub(crate) rollout: Arc<Controller>,
    pub(crate) intervals: Intervals,
}

/// The configured times of the monitor.
pub(crate) struct Intervals {
    backlog_check: Duration,
    health_check: Duration,
    /// The longest time without a lag for health: dead partitions are looked for with it.
    health_lag: Duration,
    /// `None` without a guard.
    guard_check: Option<Duration>,
    /// How long a slot waits for a handler to end.
    move_deadline: Duration,
}

impl Intervals {
    pub(crate) fn of(config: &Config) -> Self {
        let (health, rollout) = (&config.health, &config.rollout);
        Self {
            backlog_check: config.backlog.check_interval,
            health_check: health.check_interval,
            health_lag: health.check_interval.max(health.partition_limit / 2),
            guard_check: rollout.guard.then_some(rollout.check_interval),
            move_deadline: rollout.move_deadline,
        }
    }
}

/// A request to the broker, while one is in flight.
struct PendingRequest<'a, T>(Option<BoxFuture<'a, Result<T, BrokerError>>>);

impl<T> PendingRequest<'_, T> {
    /// Waits for the answer; does not complete while no request is in flight.
    ///
    /// # Cancel safety
    /// Safe: the request stays in flight.
    async fn answer(&mut self) -> Result<T, BrokerError> {
        match &mut self.0 {
            Some(request) => {
                let answer = request.await;
                self.0 = None;
                answer
            }
            None => std::future::pending().await,
        }
    }
}

impl Monitor {
    /// Runs until reading ends. A panic ends it too: then health reports `task_ended`, new sources
    /// wait no longer, and the rollout refuses commands.
    pub(crate) async fn run(self) {
        // The panic has been logged by its hook.
        let _ = CatchPanic::new(self.watch()).await;
        self.backlog.close();
        self.rollout.close();
        // A bus that ends has no faults.
        self.health.check();
    }

    async fn watch(&self) {
        let _guard = TaskGuard::new(&self.state);
        let Self { broker, state, backlog, health, rollout, intervals, .. } = self;
        let mut lag = LagSchedule::new(intervals.backlog_check, intervals.health_lag, now());
        let (mut lag_request, mut ping_request) = (PendingRequest(None), PendingRequest(None));
        let mut pinged = now();
        let mut migrator = Migrator::new(intervals.move_deadline);
        let mut next_health_check = now();
        let mut next_guard_check = intervals.guard_check.map(|_| now());
        let mut is_lag_known = true;
        loop {
            let wake_up = [
                Some(next_health_check),
                next_guard_check,
                Some(lag.next_deadline(backlog.has_waiting_sources())),
                backlog.next_deadline(),
                migrator.next_deadline(),
            ];
            tokio::select! {
                biased;
                () = state.reading.cancelled() => break,
                answer = ping_request.answer() => match answer {
                    Ok(()) => health.answered(pinged),
                    Err(_) => health.unanswered(pinged),
                },
                answer = lag_request.answer() => {
                    let (asked, is_check) = lag.answered(now());
                    self.take_lag(answer, asked, is_check, &mut is_lag_known);
                    lag.processed(backlog.has_waiting_sources(), now());
                }
                () = rollout.retargeted() => migrator.begin(now()),
                () = backlog.changed() => {}
                () = sleep_until(earliest(wake_up).into()) => {}
            }
            let now = now();
            backlog.run_due(now);
            migrator.run_due(rollout, now);
            if let Some((next, interval)) = next_guard_check.as_mut().zip(intervals.guard_check)
                && now >= *next
            {
                *next = now + interval;
                rollout.evaluate();
            }
            if now >= next_health_check {
                next_health_check = now + intervals.health_check;
                if ping_request.0.is_none() {
                    (pinged, ping_request) = (now, PendingRequest(Some(broker.ping())));
                } else if now.saturating_duration_since(pinged) >= intervals.health_check {
                    health.unanswered(pinged);
                }
                health.check();
            }
            if lag.begin_check(now) {
                let (depth, latency) = self.in_flight.look();
                backlog.take_publishing(depth, latency);
            }
            if lag.request(backlog.has_waiting_sources(), now) {
                lag_request = PendingRequest(Some(broker.lag()));
            }
        }
    }

    /// Passes the answer to a lag request on: to health and to the metrics in any case, to the
    /// backlog at its checks and for new sources.
    fn take_lag(
        &self,
        answer: Result<Vec<Lag>, BrokerError>,
        asked: Instant,
        is_check: bool,
        was_known: &mut bool,
    ) {
        let is_for_backlog = is_check || self.backlog.has_waiting_sources();
        match answer {
            Ok(lags) if is_for_backlog => {
                *was_known = true;
                self.backlog.take_lag(&lags, is_check, now());
                self.health.take_lag(&lags, asked);
            }
            Ok(lags) => {
                self.backlog.show_lag(&lags);
                self.health.take_lag(&lags, asked);
            }
            // An unknown lag is neither good nor bad.
            Err(error) => {
                self.health.take_lag(&[], asked);
                if is_for_backlog && std::mem::replace(was_known, false) {
                    warn!(backend = %self.broker.backend(), error = %excerpt::error(&error), "lag not known");
                }
            }
        }
    }
}

/// The earliest of these times. One is always there.
fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Instant {
    times.into_iter().flatten().min().unwrap_or_else(now)
}

#[cfg(test)]
mod tests {
    use crate::{BusEvent, Config, EventBus, Fault};
    use buslane_bus_suite::FaultyBroker;
    use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig};
    use buslane_testkit::{
        deadline::{LIMIT, within},
        signal::Barrier,
    };
    use std::{sync::Arc, time::Duration};

    /// Neither a callback that blocks its thread nor a broker that never answers a ping holds up
    /// anything else.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn o3_a_callback_that_blocks_and_a_silent_broker_hold_up_nothing_else() {
        let broker = MemoryBroker::new(MemoryConfig::default()).unwrap();
        let faulty = Arc::new(FaultyBroker::new(Arc::new(broker.member(MemberOptions::new("g")))));
        faulty.ignore_pings();
        let mut config = Config::default();
        config.health.check_interval = Duration::from_millis(10);
        config.health.broker_limit = Duration::from_millis(20);
        config.backlog.check_interval = Duration::from_millis(10);
        config.recovery.clean_checks = 1;
        config.recovery.ramp = Duration::from_millis(100);
        let bus = EventBus::with_broker(config, Arc::clone(&faulty) as _).await.unwrap();
        let barrier = Arc::new(Barrier::default());
        let blocking = Arc::clone(&barrier);
        bus.on_event(move |event| {
            if let BusEvent::Recovery { .. } = event {
                assert!(blocking.block());
            }
        });

        bus.set_recovery_mode(true);
        let goes_on = async {
            while bus.recovery().is_active() || !bus.health().has(Fault::BrokerSilent) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            faulty.lag_asked(faulty.lags_asked() + 3).await;
            bus.rollout().set_percent(50, "test").unwrap();
            bus.rollout().settled().await;
        };
        within(LIMIT, "recovery, health, lag and rollout", goes_on).await;
        assert_eq!(bus.rollout().status().slots.on_actor, 512);
        barrier.open();
        bus.shutdown(LIMIT).await.unwrap();
    }
}
