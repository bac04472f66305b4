//! How a bus is: which of the known faults it has, each by its name, and whether it is live and
//! ready.
//!
//! Looks go in (`observation`), a judge without a clock says what is a fault (`judge`), and a
//! report is what comes out (`report`). The task that looks at the clock and asks the broker is
//! `watcher`.

mod fault;
mod gauges;
mod judge;
mod memory;
pub(crate) use memory::resident;
mod observation;
mod probe;
mod report;
mod watcher;

pub use fault::{Component, Condition, Fault};
pub(crate) use probe::begin_probes;
pub use report::{ComponentHealth, FaultReport, Health, HealthMetrics, NotReady};
pub(crate) use watcher::watcher;

use crate::{
    clock::now, config::HealthConfig, metrics::BusMetrics, operations::Operations, state::BusState,
};
use buslane_core::{Backend, Broker, Lag, Pool, Topic};
use gauges::Gauges;
use judge::Judge;
use observation::{Behind, Observation, Running, Stall};
use parking_lot::Mutex;
use probe::Probe;
use report::HealthMetrics as Figures;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};
use time::OffsetDateTime;
use tracing::{info, warn};

/// Blocked keys that health names; it counts the others. The status names more of them.
const BLOCKED_NAMED: usize = 20;

/// What health looks at.
pub(crate) struct Observed {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) subscriptions: Arc<dyn Pauses>,
    pub(crate) operations: Arc<Operations>,
    pub(crate) metrics: Arc<BusMetrics>,
    pub(crate) state: Arc<BusState>,
}

/// The subscriptions of a bus, as health sees them.
pub(crate) trait Pauses: Send + Sync {
    /// The topics that are paused, and since when.
    fn paused(&self) -> Vec<(Topic, Instant)>;
}

/// What is known of the health of one bus.
pub(crate) struct Watch {
    observed: Observed,
    judge: Mutex<Judge>,
    facts: Mutex<Facts>,
    gauges: Gauges,
    probe: Option<Arc<Probe>>,
    ceiling: u64,
}

/// What events and answers have told.
#[derive(Default)]
struct Facts {
    lost: Option<(Instant, String)>,
    failed: Option<String>,
    unanswered: Option<Instant>,
    has_answered: bool,
    behind: Vec<Behind>,
}

impl Watch {
    pub(crate) fn new(config: &HealthConfig, backend: Backend, observed: Observed) -> Self {
        // The topic was checked with the configuration.
        let topic = Topic::new(&config.probe.topic).ok().filter(|_| config.probe.enabled);
        Self {
            probe: topic.map(|topic| Arc::new(Probe::new(topic))),
            judge: Mutex::new(Judge::new(config)),
            facts: Mutex::default(),
            gauges: Gauges::new(backend),
            ceiling: config.memory,
            observed,
        }
    }

    /// The broker is away. What is known of that stays, with its time.
    pub(crate) fn lost(&self, reason: &str) {
        self.facts.lock().lost.get_or_insert_with(|| (now(), reason.to_owned()));
    }

    /// The broker is there.
    pub(crate) fn found(&self) {
        let mut facts = self.facts.lock();
        (facts.lost, facts.unanswered) = (None, None);
        facts.has_answered = true;
    }

    /// It has answered a question that was asked then. What it says of itself later counts more.
    fn answered(&self, asked: Instant) {
        let mut facts = self.facts.lock();
        facts.lost.take_if(|(since, _)| *since < asked);
        (facts.unanswered, facts.has_answered) = (None, true);
    }

    /// Reading has ended for good.
    pub(crate) fn failed(&self, reason: String) {
        self.facts.lock().failed = Some(reason);
    }

    /// A question that was asked then is not answered.
    fn unanswered(&self, asked: Instant) {
        self.facts.lock().unanswered.get_or_insert(asked);
    }

    /// The broker was asked then how far behind this bus is.
    fn lags(&self, lags: &[Lag], asked: Instant) {
        if let Some(probe) = &self.probe {
            probe.lags(lags, asked);
        }
        let sources = self.observed.state.sources.all();
        let mut reading: HashMap<_, Vec<_>> = HashMap::new();
        for watched in sources.iter().filter(|watched| !watched.source.has_ended()) {
            reading
                .entry((&watched.source.topic, watched.source.partition))
                .or_default()
                .push(watched);
        }
        let mut behind = Vec::new();
        for lag in lags {
            let Some(unread) = lag.unread.filter(|unread| *unread > 0) else { continue };
            let own = reading.get(&(&lag.topic, lag.partition)).map_or(&[][..], Vec::as_slice);
            // A partition that is read by nobody is behind as well.
            if own.iter().all(|watched| watched.is_waiting()) {
                let taken = own.iter().map(|watched| watched.taken()).sum();
                behind.push(Behind {
                    place: format!("{}/{}", lag.topic, lag.partition),
                    unread,
                    taken,
                });
            }
        }
        self.facts.lock().behind = behind;
    }

    /// Looks at everything that can be seen without asking.
    fn observe(&self) -> Observation {
        let Observed { broker, pool, subscriptions, state, .. } = &self.observed;
        let sources = state.sources.all();
        let places: HashMap<u64, String> = sources
            .iter()
            .map(|watched| (watched.source.id(), watched.source.to_string()))
            .collect();
        let held: BTreeSet<_> = sources
            .iter()
            .filter(|watched| watched.is_held())
            .map(|watched| watched.source.topic.clone())
            .collect();
        let running = pool.running().into_iter();
        let stalls = state.stalls.timed().into_iter();
        let facts = self.facts.lock();
        Observation {
            stats: pool.stats(),
            running: running
                .map(|job| Running { job, place: places.get(&job.source).cloned() })
                .collect(),
            stalls: stalls
                .map(|((topic, partition), waiting)| Stall {
                    place: format!("{topic}/{partition}"),
                    waiting,
                })
                .collect(),
            behind: facts.behind.clone(),
            paused: subscriptions.paused(),
            held: held.into_iter().collect(),
            blocked: state.blocked.snapshot(BLOCKED_NAMED),
            unwritable: state.unwritable.lock().clone(),
            memory: memory::resident(),
            lost: facts.lost.clone(),
            unanswered: facts.unanswered,
            has_answered: facts.has_answered,
            symptoms: broker.symptoms(),
            has_sources: !sources.is_empty(),
            probes: self.probe.as_ref().map(|probe| probe.look(state)),
            failed: facts.failed.clone(),
            tasks_ended: state.tasks_ended(),
            is_closing: state.reading.is_cancelled(),
            ceiling: self.ceiling,
        }
    }

    /// Looks, judges, and says so in the log and in the metrics.
    pub(crate) fn look(&self) -> Health {
        let Observed { broker, operations, metrics, .. } = &self.observed;
        let look = self.observe();
        metrics.unreadable(broker.unreadable());
        let backlog = operations.backlog().iter().map(|behind| behind.messages).sum();
        let figures = Figures::new(
            &look.stats,
            look.blocked.count,
            backlog,
            operations.is_recovering(),
            look.memory,
        );
        let mut judge = self.judge.lock();
        let now = now();
        for change in judge.observe(&look, now) {
            let (fault, subject, detail) = (change.fault.as_str(), change.subject, change.detail);
            match change.is_on {
                true => warn!(fault, %subject, %detail, "health fault"),
                false => info!(fault, %subject, "health fault is over"),
            }
        }
        let health = Health::new(&judge, figures, now, OffsetDateTime::now_utc());
        self.gauges.set(&health);
        health
    }
}
