//! The health report: plain values, and their JSON.

use super::{
    Component, Condition, Fault,
    evaluator::{Evaluator, NotReadyReason},
};
use buslane_core::PoolStats;
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, time::Instant};
use time::OffsetDateTime;

/// The health of a bus at one moment: the answer of [`EventBus::health`](crate::EventBus::health).
///
/// As JSON, which the HTTP server sends, keys are the names of the fields, and times are RFC 3339.
///
/// ```
/// use buslane::{Condition, Config, EventBus, Fault};
/// # use std::time::Duration;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(Config::default()).await?;
/// let health = bus.health();
/// assert!(health.live && health.overall == Condition::Healthy);
/// assert!(!health.has(Fault::BlockedKey));
///
/// bus.shutdown(Duration::from_secs(10)).await?;
/// let health = bus.health();
/// assert!(!health.ready);
/// assert_eq!(health.not_ready[0].name, "shutting_down");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The worst condition of the components.
    pub overall: Condition,
    /// Whether this process should go on. `false` only with a fault that a new process repairs; an
    /// unreachable broker is none.
    pub live: bool,
    /// Whether the bus can do its work now: the broker answers, the group is stable, and the bus is
    /// not shutting down. Blocked keys and full pools do not count: another process would have them
    /// too.
    pub ready: bool,
    /// Why the bus is not ready; empty exactly when it is.
    pub not_ready: Vec<NotReady>,
    /// Whether the bus has ever begun to work: the broker has answered, and the group was stable.
    pub started: bool,
    /// When this report was made.
    #[serde(with = "time::serde::rfc3339")]
    pub last_check: OffsetDateTime,
    /// All components, in the order of [`Component::ALL`]. In JSON they appear twice: as this list,
    /// and as the table `by_component` with their names as keys.
    #[serde(flatten, serialize_with = "list_and_table")]
    pub components: Vec<ComponentHealth>,
    /// Figures of the moment.
    pub metrics: HealthMetrics,
}

/// The components as a list, and beside it by name: a dashboard or a probe that looks for one of
/// them needs no search.
fn list_and_table<S: Serializer>(
    components: &[ComponentHealth],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Both<'a> {
        components: &'a [ComponentHealth],
        by_component: BTreeMap<Component, &'a ComponentHealth>,
    }
    let by_component = components.iter().map(|component| (component.name, component)).collect();
    Both { components, by_component }.serialize(serializer)
}

/// A reason why a bus is not ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NotReady {
    /// `starting`, `shutting_down`, or the name of a [`Fault`].
    pub name: &'static str,
    /// The topic, partition or message that the fault is about; empty for the bus as a whole.
    pub subject: String,
    /// What the bus waits for, or what was seen.
    pub detail: String,
    /// How long the reason has lasted, in seconds.
    pub seconds: f64,
}

/// The health of one component.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ComponentHealth {
    /// The component.
    pub name: Component,
    /// The worst condition of its faults.
    pub condition: Condition,
    /// Its faults, by name and subject.
    pub faults: Vec<FaultReport>,
}

/// A present fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FaultReport {
    /// The fault.
    pub name: Fault,
    /// The condition of a component with this fault.
    pub condition: Condition,
    /// The topic, partition, or message with its key that has the fault; empty for the bus as a
    /// whole.
    pub subject: String,
    /// What was seen, escaped and cut to 1,024 bytes.
    pub detail: String,
    /// How long the fault has lasted, in seconds.
    pub seconds: f64,
}

/// Figures of a bus at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthMetrics {
    /// Messages that were handled, failed or panicked since the start.
    pub processed: u64,
    /// Messages in the pool: waiting or running.
    pub open: usize,
    /// Of these, messages that wait behind a failing key.
    pub failing: usize,
    /// Keys that are out of attempts.
    pub blocked_keys: usize,
    /// Messages that the pool can hold, without those of failing keys.
    pub capacity: usize,
    /// Workers or actors.
    pub workers: usize,
    /// Of these, actors that cool down after too many restarts.
    pub workers_down: usize,
    /// Restarts of actors since the start.
    pub restarts: u64,
    /// Unsettled messages of the partitions that are behind, as of the last backlog check.
    pub backlog: u64,
    /// Whether recovery mode is on.
    pub recovery_mode: bool,
    /// Resident memory of the process in bytes; `None` where the system does not report it.
    pub memory: Option<u64>,
}

impl HealthMetrics {
    pub(super) const fn new(
        stats: &PoolStats,
        blocked_keys: usize,
        backlog: u64,
        recovery_mode: bool,
        memory: Option<u64>,
    ) -> Self {
        Self {
            processed: stats.ok + stats.failed + stats.panicked,
            open: stats.open,
            failing: stats.failing,
            blocked_keys,
            capacity: stats.capacity,
            workers: stats.workers,
            workers_down: stats.workers_down,
            restarts: stats.restarts,
            backlog,
            recovery_mode,
            memory,
        }
    }
}

impl Health {
    pub(super) fn new(
        evaluator: &Evaluator,
        metrics: HealthMetrics,
        now: Instant,
        last_check: OffsetDateTime,
    ) -> Self {
        let active = evaluator.faults();
        let components: Vec<_> = Component::ALL
            .into_iter()
            .map(|name| {
                let own = active.iter().filter(|active| active.fault.component() == name);
                let faults: Vec<_> = own
                    .map(|active| FaultReport {
                        name: active.fault,
                        condition: active.fault.condition(),
                        subject: active.subject.clone(),
                        detail: active.detail.clone(),
                        seconds: now.saturating_duration_since(active.since).as_secs_f64(),
                    })
                    .collect();
                let condition =
                    faults.iter().map(|fault| fault.condition).max().unwrap_or_default();
                ComponentHealth { name, condition, faults }
            })
            .collect();
        let reasons = evaluator.not_ready().into_iter();
        Self {
            overall: components
                .iter()
                .map(|component| component.condition)
                .max()
                .unwrap_or_default(),
            live: evaluator.is_live(),
            ready: evaluator.is_ready(),
            not_ready: reasons
                .map(|NotReadyReason { name, subject, detail, since }| NotReady {
                    name,
                    subject,
                    detail,
                    seconds: since
                        .map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64()),
                })
                .collect(),
            started: evaluator.has_started(),
            last_check,
            components,
            metrics,
        }
    }

    /// The present faults of all components.
    pub fn faults(&self) -> impl Iterator<Item = &FaultReport> {
        self.components.iter().flat_map(|component| &component.faults)
    }

    /// Whether the bus has this fault.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults().any(|found| found.name == fault)
    }
}
