//! The condition of a bus: whether it is behind, on either side, and what it does about it.
//!
//! The rules are pure and know no clock (`backlog`, `publishing`, `recovery`). What they decide is
//! put into force here, in one place and under one lock, so that limits, metrics, log and events
//! tell the same. The task that looks at the clock and asks the broker is `monitor`.

mod arrivals;
mod backlog;
mod event;
mod gauges;
mod monitor;
mod publishing;
mod recovery;

pub use event::{
    BusEvent, PartitionBacklog, PublishBacklog, RecoveryCause, RecoveryPhase, RecoveryStatus,
    Severity,
};
pub(crate) use monitor::{EventCallback, monitor};

use crate::{
    config::{Config, RateLimit, RecoveryStart},
    metrics::{BusMetrics, Limited},
    rate_limiter::RateLimiter,
};
use arrivals::Arrivals;
use backlog::Backlog;
use buslane_core::{Lag, Pool, Source};
use gauges::Gauges;
use parking_lot::Mutex;
use publishing::Publishing;
use recovery::{Look, Recovery, Through};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc};
use tracing::{error, info, warn};

/// Events that callbacks may be late by.
const EVENTS: usize = 1_024;

/// The condition of one bus.
pub(crate) struct Operations {
    state: Mutex<State>,
    pool: Arc<dyn Pool>,
    /// While set, everything that has a key goes by its key.
    is_recovering: AtomicBool,
    pub(crate) recovery_rate: RateLimiter,
    at_start: RecoveryStart,
    arrivals: Arrivals,
    /// The next step of a ramp may be at another time.
    retimed: Notify,
    news: mpsc::Sender<BusEvent>,
    /// Jobs that the pool had taken at the last look.
    taken: AtomicU64,
}

struct State {
    backlog: Backlog,
    publishing: Publishing,
    recovery: Recovery,
    gauges: Gauges,
}

impl Operations {
    /// The condition of a bus that starts, and the events that it tells of.
    pub(crate) fn new(
        config: &Config,
        pool: &Arc<dyn Pool>,
        metrics: &BusMetrics,
    ) -> (Self, mpsc::Receiver<BusEvent>) {
        let (news, events) = mpsc::channel(EVENTS);
        let state = State {
            backlog: Backlog::new(&config.backlog),
            publishing: Publishing::new(&config.backlog),
            recovery: Recovery::new(&config.recovery),
            gauges: Gauges::new(metrics),
        };
        let operations = Self {
            state: Mutex::new(state),
            pool: Arc::clone(pool),
            is_recovering: false.into(),
            recovery_rate: RateLimiter::new(None, metrics.rate_limit_waits(Limited::Recovery)),
            at_start: config.recovery.at_start,
            arrivals: Arrivals::default(),
            retimed: Notify::new(),
            news,
            taken: 0.into(),
        };
        if config.recovery.at_start == RecoveryStart::Always {
            operations.change(|state| state.recovery.begin(RecoveryCause::Start));
        }
        operations.arrivals.open();
        (operations, events)
    }

    /// Whether recovery mode is on.
    pub(crate) fn is_recovering(&self) -> bool {
        self.is_recovering.load(Relaxed)
    }

    /// Enters or leaves recovery mode by hand.
    pub(crate) fn set_recovery_mode(&self, active: bool) {
        self.change(|state| match active {
            true => state.recovery.begin(RecoveryCause::ByHand),
            false => state.recovery.end(),
        });
    }

    /// Changes what recovery mode lets through.
    pub(crate) fn set_recovery_limits(&self, rate: Option<RateLimit>, keys: usize) {
        self.change(|state| state.recovery.set_through(Through { rate, keys }));
    }

    /// Waits until it is known how far behind a new source is, where that decides on recovery mode.
    pub(crate) async fn look_at(&self, source: &Source) {
        if self.at_start == RecoveryStart::Auto && !self.is_recovering() {
            self.arrivals.wait(source).await;
        }
    }

    pub(crate) fn backlog(&self) -> Vec<PartitionBacklog> {
        self.state.lock().backlog.all()
    }

    pub(crate) fn publish_backlog(&self) -> PublishBacklog {
        self.state.lock().publishing.now()
    }

    pub(crate) fn recovery(&self) -> RecoveryStatus {
        self.state.lock().recovery.status()
    }

    /// The broker has said how far behind this bus is, between two checks: only the metrics follow.
    pub(crate) fn tell_lags(&self, lags: &[Lag]) {
        self.state.lock().gauges.lags(lags);
    }

    /// The broker has said how far behind this bus is. `is_check` tells a regular look from one at
    /// new sources.
    fn observe(&self, lags: &[Lag], is_check: bool, now: Instant) {
        let stats = self.pool.stats();
        // While keys change pools, a sum over both can be behind one that was taken before.
        let passed = if is_check {
            stats.accepted.saturating_sub(self.taken.swap(stats.accepted, Relaxed))
        } else {
            0
        };
        self.change(|state| {
            state.gauges.lags(lags);
            let was_behind = state.backlog.is_any();
            for event in state.backlog.observe(lags) {
                self.tell(event);
            }
            state.log_backlog(was_behind);
            let is_behind = state.backlog.needs_recovery(stats.parked as u64);
            let is_new = self.arrivals.any(|topic, partition| state.backlog.has(topic, partition));
            let look = Look { is_behind, open: state.backlog.open(), passed };
            if is_behind && is_new {
                state.recovery.begin(RecoveryCause::Start)
            } else if is_check {
                state.recovery.looked(look, now)
            } else {
                None
            }
        });
        if !self.arrivals.is_empty() {
            let state = self.state.lock();
            let told = lags.iter().filter(|lag| state.backlog.is_told(lag));
            let told: HashSet<_> = told.map(|lag| (&lag.topic, lag.partition)).collect();
            drop(state);
            self.arrivals.looked(&told);
        }
    }

    /// So many records are on their way to the broker, and answers took so long.
    fn observe_publishing(&self, depth: u64, latency: Duration) {
        let mut state = self.state.lock();
        if let Some(event) = state.publishing.observe(depth, latency) {
            self.tell(event);
        }
        let now = state.publishing.now();
        state.gauges.publishing(now);
    }

    fn tick(&self, now: Instant) {
        self.change(|state| state.recovery.tick(now));
    }

    fn next_tick(&self) -> Option<Instant> {
        self.state.lock().recovery.next_tick()
    }

    /// Makes a change of recovery mode, and puts it into force.
    fn change(&self, change: impl FnOnce(&mut State) -> Option<BusEvent>) {
        let mut state = self.state.lock();
        let Some(event) = change(&mut state) else { return };
        let limits = state.recovery.limits();
        self.is_recovering.store(limits.is_some(), Relaxed);
        self.recovery_rate.set(limits.and_then(|through| through.rate));
        self.pool.limit_keys(limits.map(|through| through.keys));
        state.gauges.recovery(limits.is_some());
        self.tell(event);
        self.retimed.notify_one();
    }

    /// Logs an event and hands it to the callbacks. Under the lock, so that all see one order.
    fn tell(&self, event: BusEvent) {
        event.log();
        if let Err(mpsc::error::TrySendError::Full(event)) = self.news.try_send(event) {
            error!(event = event.name(), "event lost: callbacks are too slow");
        }
    }
}

impl State {
    /// One line for all partitions: there may be a thousand of them.
    fn log_backlog(&self, was_behind: bool) {
        let behind = self.backlog.all();
        match (was_behind, behind.is_empty()) {
            (false, false) => {
                let messages: u64 = behind.iter().map(|behind| behind.messages).sum();
                let age_seconds = behind
                    .iter()
                    .filter_map(|behind| behind.age)
                    .max()
                    .map(|age| age.as_secs_f64());
                warn!(partitions = behind.len(), messages, age_seconds, "backlog entered");
            }
            (true, true) => info!("backlog left"),
            _ => {}
        }
        self.gauges.backlog(!behind.is_empty());
    }
}
