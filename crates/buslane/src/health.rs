//! The health of a bus: which of the known faults it has, each by its name, and whether it is live
//! and ready.
//!
//! A check collects signals (`signals`), pure rules turn them into faults (`evaluator`), and a
//! report shows the result (`report`). Checks are made by the monitor task, and whenever the health
//! is asked for.

mod evaluator;
mod fault;
mod probe;
mod report;
mod signals;

pub use fault::{Component, Condition, Fault};
pub use report::{ComponentHealth, FaultReport, Health, HealthMetrics, NotReady};

use crate::{
    backlog::BacklogControl,
    config::HealthConfig,
    metrics::{BusMetrics, HEALTH, HEALTH_FAULT},
    process::{now, resident_memory},
    state::BusState,
};
use buslane_core::{Backend, Binder, Broker, Lag, Pool, Topic};
use evaluator::Evaluator;
use metrics::Gauge;
use parking_lot::Mutex;
use probe::Probe;
use signals::{Running, Signals, SilentPartition, Stall};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};
use time::OffsetDateTime;
use tracing::{info, warn};

/// Blocked keys that health names; it counts the others. The status names more of them.
const BLOCKED_NAMED: usize = 20;

/// The parts of a bus that health looks at.
pub(crate) struct Observed {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) subscriptions: Arc<dyn Pauses>,
    pub(crate) backlog: Arc<BacklogControl>,
    pub(crate) metrics: Arc<BusMetrics>,
    pub(crate) state: Arc<BusState>,
}

/// The subscriptions of a bus, as health sees them.
pub(crate) trait Pauses: Send + Sync {
    /// The paused topics, and since when.
    fn paused(&self) -> Vec<(Topic, Instant)>;
}

/// The health of one bus.
pub(crate) struct HealthState {
    observed: Observed,
    evaluator: Mutex<Evaluator>,
    broker: Mutex<BrokerState>,
    gauges: Gauges,
    probe: Option<Arc<Probe>>,
    memory_ceiling: u64,
}

/// What the broker's events and answers have shown.
#[derive(Default)]
struct BrokerState {
    /// Since when the connection is lost, and why.
    lost: Option<(Instant, String)>,
    /// Why reading has ended for good.
    failed: Option<String>,
    /// When the first of the unanswered pings was sent.
    unanswered: Option<Instant>,
    has_answered: bool,
    silent: Vec<SilentPartition>,
}

impl HealthState {
    pub(crate) fn new(config: &HealthConfig, backend: Backend, observed: Observed) -> Self {
        // The topic was checked with the configuration.
        let topic = Topic::new(&config.probe.topic).ok().filter(|_| config.probe.enabled);
        Self {
            probe: topic.map(|topic| Arc::new(Probe::new(topic))),
            evaluator: Mutex::new(Evaluator::new(config)),
            broker: Mutex::default(),
            gauges: Gauges::new(backend),
            memory_ceiling: config.memory,
            observed,
        }
    }

    /// The probes of the bus, where they are enabled.
    pub(crate) const fn probe(&self) -> Option<&Arc<Probe>> {
        self.probe.as_ref()
    }

    /// The connection is lost. A connection that is lost already keeps its time and its reason.
    pub(crate) fn lost(&self, reason: &str) {
        self.broker.lock().lost.get_or_insert_with(|| (now(), reason.to_owned()));
    }

    /// The connection is back.
    pub(crate) fn reconnected(&self) {
        let mut broker = self.broker.lock();
        (broker.lost, broker.unanswered) = (None, None);
        broker.has_answered = true;
    }

    /// The broker has answered the ping that was sent at `asked`. A connection that was lost later
    /// stays lost.
    pub(crate) fn answered(&self, asked: Instant) {
        let mut broker = self.broker.lock();
        broker.lost.take_if(|(since, _)| *since < asked);
        (broker.unanswered, broker.has_answered) = (None, true);
    }

    /// The broker has not answered the ping that was sent at `asked`.
    pub(crate) fn unanswered(&self, asked: Instant) {
        self.broker.lock().unanswered.get_or_insert(asked);
    }

    /// Reading has ended for good.
    pub(crate) fn failed(&self, reason: String) {
        self.broker.lock().failed = Some(reason);
    }

    /// Takes the lag that was asked for at `asked`.
    pub(crate) fn take_lag(&self, lags: &[Lag], asked: Instant) {
        if let Some(probe) = &self.probe {
            probe.take_lag(lags, asked);
        }
        let sources = self.observed.state.sources.all();
        let mut reading: HashMap<_, Vec<_>> = HashMap::new();
        for state in sources.iter().filter(|state| !state.source.has_ended()) {
            reading.entry((&state.source.topic, state.source.partition)).or_default().push(state);
        }
        let mut silent = Vec::new();
        for lag in lags {
            let Some(unread) = lag.unread.filter(|unread| *unread > 0) else { continue };
            let own = reading.get(&(&lag.topic, lag.partition)).map_or(&[][..], Vec::as_slice);
            // A partition without a pump delivers nothing either.
            if own.iter().all(|state| state.is_waiting()) {
                let taken = own.iter().map(|state| state.taken()).sum();
                let partition = format!("{}/{}", lag.topic, lag.partition);
                silent.push(SilentPartition { partition, unread, taken });
            }
        }
        self.broker.lock().silent = silent;
    }

    /// Collects the signals, without asking the broker.
    fn signals(&self) -> Signals {
        let Observed { broker, pool, subscriptions, state, .. } = &self.observed;
        let sources = state.sources.all();
        let partitions: HashMap<u64, String> =
            sources.iter().map(|state| (state.source.id(), state.source.to_string())).collect();
        let held: BTreeSet<_> = sources
            .iter()
            .filter(|state| state.is_held())
            .map(|state| state.source.topic.clone())
            .collect();
        let running = pool.running().into_iter();
        let stalls = state.stalls.timed().into_iter();
        let seen = self.broker.lock();
        Signals {
            stats: pool.stats(),
            running: running
                .map(|job| Running { job, partition: partitions.get(&job.source).cloned() })
                .collect(),
            stalls: stalls
                .map(|((topic, partition), waiting)| Stall {
                    partition: format!("{topic}/{partition}"),
                    waiting,
                })
                .collect(),
            silent: seen.silent.clone(),
            paused: subscriptions.paused(),
            held: held.into_iter().collect(),
            blocked: state.blocked.snapshot(BLOCKED_NAMED),
            unwritable: state.unwritable.lock().clone(),
            memory: resident_memory(),
            lost: seen.lost.clone(),
            unanswered: seen.unanswered,
            has_answered: seen.has_answered,
            symptoms: broker.symptoms(),
            has_sources: !sources.is_empty(),
            probes: self.probe.as_ref().map(|probe| probe.status(state)),
            failed: seen.failed.clone(),
            tasks_ended: state.tasks_ended(),
            is_closing: state.reading.is_cancelled(),
            ceiling: self.memory_ceiling,
        }
    }

    /// Makes a check, and shows the result in the log and in the metrics.
    pub(crate) fn check(&self) -> Health {
        let Observed { broker, backlog, metrics, .. } = &self.observed;
        let signals = self.signals();
        metrics.broker_counts(&broker.counts());
        let behind = backlog.backlog().iter().map(|behind| behind.messages).sum();
        let figures = HealthMetrics::new(
            &signals.stats,
            signals.blocked.count,
            behind,
            backlog.is_recovering(),
            signals.memory,
        );
        let mut evaluator = self.evaluator.lock();
        let now = now();
        for change in evaluator.evaluate(&signals, now) {
            let (fault, subject, detail) = (change.fault.as_str(), change.subject, change.detail);
            match change.is_on {
                true => warn!(fault, %subject, %detail, "health fault"),
                false => info!(fault, %subject, "health fault is over"),
            }
        }
        let health = Health::new(&evaluator, figures, now, OffsetDateTime::now_utc());
        self.gauges.set(&health);
        health
    }
}

/// The health metrics of one bus. They return to zero when the bus ends.
struct Gauges {
    overall: Gauge,
    faults: Vec<(Fault, Gauge)>,
}

impl Gauges {
    fn new(backend: Backend) -> Self {
        let binder = Binder::bus(backend.as_str());
        let of = |fault: Fault| (fault, binder.gauge_of(&HEALTH_FAULT, fault.as_str()));
        let gauges = Self {
            overall: binder.gauge(&HEALTH),
            faults: Fault::ALL.iter().copied().map(of).collect(),
        };
        gauges.clear();
        gauges
    }

    /// Sets the overall health: 0 healthy, 1 warning, 2 degraded, 3 unhealthy. Counts each fault.
    fn set(&self, health: &Health) {
        self.overall.set(match health.overall {
            Condition::Healthy => 0.0,
            Condition::Warning => 1.0,
            Condition::Degraded => 2.0,
            Condition::Unhealthy => 3.0,
        });
        for (fault, gauge) in &self.faults {
            let count = health.faults().filter(|found| found.name == *fault).count();
            gauge.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }

    fn clear(&self) {
        self.overall.set(0.0);
        self.faults.iter().for_each(|(_, gauge)| gauge.set(0.0));
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.clear();
    }
}
