//! What health looks like from outside: plain values, and their JSON.

use super::{
    Component, Condition, Fault,
    judge::{Judge, Obstacle},
};
use buslane_core::PoolStats;
use serde::Serialize;
use std::time::Instant;
use time::OffsetDateTime;

/// How a bus is. As JSON, the names are those of the fields, and times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The worst of the components.
    pub overall: Condition,
    /// Whether this process should go on: not when only a new one would help. A broker that is away
    /// is no reason.
    pub live: bool,
    /// Whether it can do its work now: the broker answers, the group is settled, it is not shutting
    /// down. Blocked keys and full pools do not count: nobody else would do better.
    pub ready: bool,
    /// Why it is not ready; empty exactly when it is.
    pub not_ready: Vec<NotReady>,
    /// Whether it was ready to work once.
    pub started: bool,
    /// When the bus was looked at.
    #[serde(with = "time::serde::rfc3339")]
    pub last_check: OffsetDateTime,
    /// Each part, in a fixed order.
    pub components: Vec<ComponentHealth>,
    /// Figures of the moment.
    pub metrics: HealthMetrics,
}

/// A reason for which a bus is not ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NotReady {
    /// `starting`, `shutting_down`, or the name of a [`Fault`].
    pub name: &'static str,
    /// What has it; empty for the bus as a whole.
    pub subject: String,
    /// What it waits for, or what was seen.
    pub detail: String,
    /// For how long.
    pub seconds: f64,
}

/// How a part of a bus is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ComponentHealth {
    /// Which.
    pub name: Component,
    /// The worst of its faults.
    pub condition: Condition,
    /// What is wrong with it.
    pub faults: Vec<FaultReport>,
}

/// A fault that is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FaultReport {
    /// Which.
    pub name: Fault,
    /// How bad it is.
    pub condition: Condition,
    /// What has it: a topic, a partition, a message with its key; empty for the bus as a whole.
    pub subject: String,
    /// What was seen, escaped and cut.
    pub detail: String,
    /// For how long.
    pub seconds: f64,
}

/// Figures of a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthMetrics {
    /// Messages that ended, well or not, since the start.
    pub processed: u64,
    /// Messages in the pool.
    pub open: usize,
    /// Of these, those that wait behind a failing key.
    pub parked: usize,
    /// Keys that are out of attempts.
    pub blocked_keys: usize,
    /// Messages that the pool can hold besides the parked ones.
    pub capacity: usize,
    /// Workers or actors.
    pub workers: usize,
    /// Of these, actors that cool down.
    pub workers_down: usize,
    /// Restarts of actors since the start.
    pub restarts: u64,
    /// Messages in front of this bus, as of the last look; of partitions that are behind.
    pub backlog: u64,
    /// Whether recovery mode is on.
    pub recovery_mode: bool,
    /// Resident memory of the process in bytes, where it is known.
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
            parked: stats.parked,
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
        judge: &Judge,
        metrics: HealthMetrics,
        now: Instant,
        last_check: OffsetDateTime,
    ) -> Self {
        let found = judge.faults();
        let components: Vec<_> = Component::ALL
            .into_iter()
            .map(|name| {
                let own = found.iter().filter(|found| found.fault.component() == name);
                let faults: Vec<_> = own
                    .map(|found| FaultReport {
                        name: found.fault,
                        condition: found.fault.condition(),
                        subject: found.subject.clone(),
                        detail: found.detail.clone(),
                        seconds: now.saturating_duration_since(found.since).as_secs_f64(),
                    })
                    .collect();
                let condition =
                    faults.iter().map(|fault| fault.condition).max().unwrap_or_default();
                ComponentHealth { name, condition, faults }
            })
            .collect();
        let obstacles = judge.obstacles().into_iter();
        Self {
            overall: components
                .iter()
                .map(|component| component.condition)
                .max()
                .unwrap_or_default(),
            live: judge.is_live(),
            ready: judge.is_ready(),
            not_ready: obstacles
                .map(|Obstacle { name, subject, detail, since }| NotReady {
                    name,
                    subject,
                    detail,
                    seconds: since
                        .map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64()),
                })
                .collect(),
            started: judge.has_started(),
            last_check,
            components,
            metrics,
        }
    }

    /// All faults.
    pub fn faults(&self) -> impl Iterator<Item = &FaultReport> {
        self.components.iter().flat_map(|component| &component.faults)
    }

    /// Whether this fault is there.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults().any(|found| found.name == fault)
    }
}
