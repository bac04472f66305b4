//! Whether a bus is behind, reading or publishing, and recovery mode.
//!
//! The rules are pure (`detector`, `recovery`). [`BacklogControl`] applies their decisions in one
//! place and under one lock, so that limits, metrics, log and events agree. It has no clock and no
//! broker: the monitor task calls it.

mod detector;
mod event;
mod new_sources;
mod recovery;

pub use event::{
    BusEvent, PartitionBacklog, PublishBacklog, RecoveryCause, RecoveryPhase, RecoveryStatus,
    Severity,
};

use crate::{
    config::{Config, RateLimit, RecoveryStart},
    metrics::{BacklogGauges, BusMetrics, Limited, PartitionLag},
    process::now,
    rate_limiter::RateLimiter,
    state::{BusState, TaskGuard},
};
use buslane_core::{Lag, Pool, Source, Topic};
use detector::{BacklogDetector, PublishDetector};
use new_sources::NewSources;
use parking_lot::Mutex;
use recovery::{BacklogSample, RecoveryLimits, RecoveryMode};
use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc};
use tracing::{error, info, warn};

/// Events that wait for the callbacks. Further ones are lost.
const EVENTS: usize = 1_024;

/// Called with each event.
pub(crate) type EventCallback = Arc<dyn Fn(&BusEvent) + Send + Sync>;

/// The backlogs and the recovery mode of one bus.
pub(crate) struct BacklogControl {
    state: Mutex<State>,
    pool: Arc<dyn Pool>,
    /// While set, every message with a key keeps the order of its key.
    is_recovering: AtomicBool,
    pub(crate) recovery_rate: RateLimiter,
    at_start: RecoveryStart,
    new_sources: NewSources,
    /// Notified when a source waits, or the next step of the ramp is due at another time.
    changed: Notify,
    events: mpsc::Sender<BusEvent>,
    /// Jobs that the pool had accepted at the last check.
    accepted: AtomicU64,
}

struct State {
    detector: BacklogDetector,
    publishing: PublishDetector,
    recovery: RecoveryMode,
    gauges: Gauges,
}

impl BacklogControl {
    /// The control of a bus that starts, and its events for [`deliver_events`].
    pub(crate) fn new(
        config: &Config,
        pool: &Arc<dyn Pool>,
        metrics: &BusMetrics,
    ) -> (Self, mpsc::Receiver<BusEvent>) {
        let (sender, events) = mpsc::channel(EVENTS);
        let state = State {
            detector: BacklogDetector::new(&config.backlog),
            publishing: PublishDetector::new(&config.backlog),
            recovery: RecoveryMode::new(&config.recovery),
            gauges: Gauges::new(metrics),
        };
        let control = Self {
            state: Mutex::new(state),
            pool: Arc::clone(pool),
            is_recovering: false.into(),
            recovery_rate: RateLimiter::new(None, metrics.rate_limit_waits(Limited::Recovery)),
            at_start: config.recovery.at_start,
            new_sources: NewSources::new(),
            changed: Notify::new(),
            events: sender,
            accepted: 0.into(),
        };
        if config.recovery.at_start == RecoveryStart::Always {
            control.change_recovery(|state| state.recovery.begin(RecoveryCause::Start));
        }
        (control, events)
    }

    /// Whether recovery mode is on.
    pub(crate) fn is_recovering(&self) -> bool {
        self.is_recovering.load(Relaxed)
    }

    /// Enters or leaves recovery mode by hand.
    pub(crate) fn set_recovery_mode(&self, active: bool) {
        self.change_recovery(|state| match active {
            true => state.recovery.begin(RecoveryCause::ByHand),
            false => state.recovery.end(),
        });
    }

    /// Changes the limits of recovery mode.
    pub(crate) fn set_recovery_limits(&self, rate: Option<RateLimit>, keys: usize) {
        self.change_recovery(|state| state.recovery.set_limits(RecoveryLimits { rate, keys }));
    }

    /// Waits until the lag of a new source is known, where it decides on recovery mode.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait_for_lag(&self, source: &Source) {
        if self.at_start == RecoveryStart::Auto && !self.is_recovering() {
            self.new_sources.wait(source, now(), &self.changed).await;
        }
    }

    pub(crate) fn backlog(&self) -> Vec<PartitionBacklog> {
        self.state.lock().detector.all()
    }

    pub(crate) fn publish_backlog(&self) -> PublishBacklog {
        self.state.lock().publishing.now()
    }

    pub(crate) fn recovery(&self) -> RecoveryStatus {
        self.state.lock().recovery.status()
    }

    /// Completes when the monitor has to look at the sources that wait, or at [`next_deadline`].
    ///
    /// [`next_deadline`]: BacklogControl::next_deadline
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether a new source waits for its lag.
    pub(crate) fn has_waiting_sources(&self) -> bool {
        self.new_sources.is_any()
    }

    /// When [`BacklogControl::run_due`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let ramp = self.state.lock().recovery.next_tick();
        ramp.into_iter().chain(self.new_sources.next_timeout()).min()
    }

    /// Performs the due steps of the ramp, and releases the sources that have waited for too long.
    pub(crate) fn run_due(&self, now: Instant) {
        self.change_recovery(|state| state.recovery.tick(now));
        self.new_sources.expire(now);
    }

    /// Releases all sources that wait, now and later: the monitor has ended.
    pub(crate) fn close(&self) {
        self.new_sources.close();
    }

    /// Shows the lag in the metrics. It decides nothing.
    pub(crate) fn show_lag(&self, lags: &[Lag]) {
        self.state.lock().gauges.lags(lags);
    }

    /// Takes the lag of all partitions: of a regular check, or for new sources between two checks.
    pub(crate) fn take_lag(&self, lags: &[Lag], is_check: bool, now: Instant) {
        let stats = self.pool.stats();
        // The sum over both pools can fall while keys change pools.
        let accepted = if is_check {
            stats.accepted.saturating_sub(self.accepted.swap(stats.accepted, Relaxed))
        } else {
            0
        };
        let come = self.new_sources.come();
        self.change_recovery(|state| {
            state.gauges.lags(lags);
            let was_behind = state.detector.is_any();
            for event in state.detector.observe(lags) {
                self.emit(event);
            }
            state.log_backlog(was_behind);
            let is_behind = state.detector.needs_recovery(stats.failing as u64);
            let is_new = self.new_sources.any(come, |topic, at| state.detector.has(topic, at));
            let sample = BacklogSample { is_behind, open: state.detector.open(), accepted };
            if is_behind && is_new {
                state.recovery.begin(RecoveryCause::Start)
            } else if is_check {
                state.recovery.checked(sample, now)
            } else {
                None
            }
        });
        if self.new_sources.is_any() {
            let known: HashSet<_> = {
                let state = self.state.lock();
                let known = lags.iter().filter(|lag| state.detector.is_conclusive(lag));
                known.map(|lag| (&lag.topic, lag.partition)).collect()
            };
            self.new_sources.release(come, &known);
        }
    }

    /// Takes the number of unacknowledged records, and the mean latency of the acknowledgements
    /// since the last check.
    pub(crate) fn take_publishing(&self, depth: u64, latency: Duration) {
        let mut state = self.state.lock();
        if let Some(event) = state.publishing.observe(depth, latency) {
            self.emit(event);
        }
        let now = state.publishing.now();
        state.gauges.publishing(now);
    }

    /// Changes recovery mode, and applies its limits.
    fn change_recovery(&self, change: impl FnOnce(&mut State) -> Option<BusEvent>) {
        let mut state = self.state.lock();
        let Some(event) = change(&mut state) else { return };
        let limits = state.recovery.limits();
        self.is_recovering.store(limits.is_some(), Relaxed);
        self.recovery_rate.set(limits.and_then(|limits| limits.rate));
        self.pool.limit_keys(limits.map(|limits| limits.keys));
        state.gauges.recovery(limits.is_some());
        self.emit(event);
        self.changed.notify_one();
    }

    /// Logs an event and queues it for the callbacks. Called under the lock, so that log and
    /// callbacks see the same order.
    fn emit(&self, event: BusEvent) {
        event.log();
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            error!(event = event.name(), "event lost: callbacks are too slow");
        }
    }
}

impl State {
    /// Logs one line for all partitions, of which there may be thousands.
    fn log_backlog(&self, was_behind: bool) {
        let behind = self.detector.all();
        match (was_behind, behind.is_empty()) {
            (false, false) => {
                let messages: u64 = behind.iter().map(|behind| behind.messages).sum();
                let age = behind.iter().filter_map(|behind| behind.age).max();
                let age_seconds = age.map(|age| age.as_secs_f64());
                warn!(partitions = behind.len(), messages, age_seconds, "backlog entered");
            }
            (true, true) => info!("backlog left"),
            _ => {}
        }
        self.gauges.backlog(!behind.is_empty());
    }
}

/// Calls the callbacks with each event, in order, until reading ends; those queued until then are
/// delivered. A task of its own: a callback that blocks holds up other callbacks, and nothing else.
pub(crate) async fn deliver_events(
    mut events: mpsc::Receiver<BusEvent>,
    callbacks: Arc<Mutex<Vec<EventCallback>>>,
    state: Arc<BusState>,
) {
    let _guard = TaskGuard::new(&state);
    while let Some(Some(event)) = state.reading.run_until_cancelled(events.recv()).await {
        call(&callbacks, &event);
    }
    while let Ok(event) = events.try_recv() {
        call(&callbacks, &event);
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

/// The backlog metrics of one bus. They return to zero when the bus ends.
struct Gauges {
    gauges: BacklogGauges,
    /// The gauges of every partition that had a lag.
    lags: HashMap<(Topic, u32), PartitionLag>,
}

impl Gauges {
    fn new(metrics: &BusMetrics) -> Self {
        let gauges = Self { gauges: metrics.backlog(), lags: HashMap::new() };
        gauges.clear();
        gauges
    }

    /// Partitions without an entry are no longer read by this bus: their gauges return to zero.
    fn lags(&mut self, lags: &[Lag]) {
        let named: HashSet<_> = lags.iter().map(|lag| (&lag.topic, lag.partition)).collect();
        let gone = self
            .lags
            .iter()
            .filter(|((topic, partition), _)| !named.contains(&(topic, *partition)));
        gone.for_each(|(_, gauges)| gauges.clear());
        for lag in lags {
            let gauges = &self.gauges;
            let of_partition = self.lags.entry((lag.topic.clone(), lag.partition));
            of_partition.or_insert_with(|| gauges.lag_of(&lag.topic, lag.partition)).set(lag);
        }
    }

    fn backlog(&self, is_any: bool) {
        self.gauges.backlog.set(f64::from(u8::from(is_any)));
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    fn publishing(&self, now: PublishBacklog) {
        self.gauges.publish_backlog.set(match now.severity {
            Severity::Normal => 0.0,
            Severity::Warning => 0.5,
            Severity::Critical => 1.0,
        });
        self.gauges.depth.set(now.depth as f64);
    }

    fn recovery(&self, is_on: bool) {
        self.gauges.recovery.set(f64::from(u8::from(is_on)));
    }

    fn clear(&self) {
        self.lags.values().for_each(PartitionLag::clear);
        let BacklogGauges { backlog, publish_backlog, depth, recovery, .. } = &self.gauges;
        [backlog, publish_backlog, depth, recovery].into_iter().for_each(|gauge| gauge.set(0.0));
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.clear();
    }
}
