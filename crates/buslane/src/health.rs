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
pub use report::{ComponentHealth, FaultReport, Health, HealthMetrics, NotReady};
pub(crate) use watcher::{Alive, watcher};

use crate::{EventBus, clock::now, config::HealthConfig, flow::Flow};
use buslane_core::{Backend, Lag, Topic};
use gauges::Gauges;
use judge::Judge;
use observation::{Behind, Observation, Running, Stall};
use parking_lot::Mutex;
use probe::Probe;
use report::HealthMetrics as Figures;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};
use time::OffsetDateTime;
use tracing::{info, warn};

/// Blocked keys that health names; it counts the others. The status names more of them.
const BLOCKED_NAMED: usize = 20;

/// What is known of the health of one bus.
pub(crate) struct Watch {
    judge: Mutex<Judge>,
    facts: Mutex<Facts>,
    gauges: Gauges,
    probe: Option<Arc<Probe>>,
    ceiling: u64,
    tasks_ended: AtomicUsize,
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
    pub(crate) fn new(config: &HealthConfig, backend: Backend) -> Self {
        // The topic was checked with the configuration.
        let topic = Topic::new(&config.probe.topic).ok().filter(|_| config.probe.enabled);
        Self {
            probe: topic.map(|topic| Arc::new(Probe::new(topic))),
            judge: Mutex::new(Judge::new(config)),
            facts: Mutex::default(),
            gauges: Gauges::new(backend),
            ceiling: config.memory,
            tasks_ended: AtomicUsize::new(0),
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
    fn lags(&self, flow: &Flow, lags: &[Lag], asked: Instant) {
        if let Some(probe) = &self.probe {
            probe.lags(lags, asked);
        }
        let sources = flow.sources.all();
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
    fn observe(&self, flow: &Flow) -> Observation {
        let sources = flow.sources.all();
        let places: HashMap<u64, String> = sources
            .iter()
            .map(|watched| (watched.source.id(), watched.source.to_string()))
            .collect();
        let held: BTreeSet<_> = sources
            .iter()
            .filter(|watched| watched.is_held())
            .map(|watched| watched.source.topic.clone())
            .collect();
        let subscribed = flow.registry.all();
        let paused =
            subscribed.iter().filter_map(|one| Some((one.topic.clone(), one.pause.since()?)));
        let running = flow.pool.running().into_iter();
        let stalls = flow.stalls.timed().into_iter();
        let troubles = &flow.services.troubles;
        let facts = self.facts.lock();
        Observation {
            stats: flow.pool.stats(),
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
            paused: paused.collect(),
            held: held.into_iter().collect(),
            blocked: troubles.blocked.look(BLOCKED_NAMED),
            unwritable: troubles.unwritable.lock().clone(),
            memory: memory::resident(),
            lost: facts.lost.clone(),
            unanswered: facts.unanswered,
            has_answered: facts.has_answered,
            symptoms: flow.services.broker.symptoms(),
            has_sources: !sources.is_empty(),
            probes: self.probe.as_ref().map(|probe| probe.look(flow)),
            failed: facts.failed.clone(),
            tasks_ended: self.tasks_ended.load(Relaxed),
            is_closing: flow.reading.is_cancelled(),
            ceiling: self.ceiling,
        }
    }

    /// Looks, judges, and says so in the log and in the metrics.
    fn look(&self, flow: &Flow) -> Health {
        let look = self.observe(flow);
        flow.services.metrics.unreadable(flow.services.broker.unreadable());
        let backlog = flow.operations.backlog().iter().map(|behind| behind.messages).sum();
        let figures = Figures::new(
            &look.stats,
            look.blocked.count,
            backlog,
            flow.operations.is_recovering(),
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

impl EventBus {
    /// How the bus is, as of now: which faults it has, by name, and whether it is live and ready.
    /// What the broker has to be asked for is as of the last look,
    /// [`check_interval`](crate::config::HealthConfig::check_interval) ago at most.
    #[must_use]
    pub fn health(&self) -> Health {
        let flow = self.flow();
        flow.watch.look(flow)
    }
}
