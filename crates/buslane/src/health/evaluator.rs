//! The evaluator: signals go in, faults come out. Pure: the time is an argument.
//!
//! A condition that lasts for its limit is a fault; a condition that ends is forgotten. Its subject
//! and its epoch tell whether it is still the same condition.

use super::{
    Fault,
    signals::{FaultCondition, Signals},
};
use crate::config::HealthConfig;
use buslane_core::excerpt;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// The time within which restarts are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Fault, subject and epoch of a condition.
type Key = (Fault, String, u64);

/// A fault that begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FaultChange {
    pub(super) fault: Fault,
    pub(super) subject: String,
    pub(super) detail: String,
    /// Whether it begins.
    pub(super) is_on: bool,
}

/// A present fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ActiveFault {
    pub(super) fault: Fault,
    pub(super) subject: String,
    pub(super) detail: String,
    pub(super) since: Instant,
}

/// Why a bus is not ready: a fault, its start or its shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotReadyReason {
    pub(super) name: &'static str,
    pub(super) subject: String,
    pub(super) detail: String,
    /// Unknown before the first check.
    pub(super) since: Option<Instant>,
}

impl NotReadyReason {
    fn new(name: &'static str, detail: &str, since: Option<Instant>) -> Self {
        Self { name, subject: String::new(), detail: detail.to_owned(), since }
    }
}

/// A condition of the last check.
struct Present {
    since: Instant,
    detail: String,
    is_fault: bool,
}

/// What health knows from one check to the next.
pub(super) struct Evaluator {
    limits: HealthConfig,
    conditions: HashMap<Key, Present>,
    /// The times of the last actor restarts, at most as many as make a storm.
    restarts: VecDeque<Instant>,
    restarts_counted: u64,
    has_started: bool,
    /// Whether the bus ever had a share of its group.
    has_had_share: bool,
    /// The start, until the bus has begun to work, or the shutdown.
    phase: Option<NotReadyReason>,
}

impl Evaluator {
    pub(super) fn new(limits: &HealthConfig) -> Self {
        let detail = "waiting for the first look at the bus";
        Self {
            limits: limits.clone(),
            conditions: HashMap::new(),
            restarts: VecDeque::new(),
            restarts_counted: 0,
            has_started: false,
            has_had_share: false,
            phase: Some(NotReadyReason::new("starting", detail, None)),
        }
    }

    /// Takes the signals of a check. Returns the faults that have begun or ended since the last
    /// one.
    pub(super) fn evaluate(&mut self, signals: &Signals, now: Instant) -> Vec<FaultChange> {
        let mut conditions = signals.conditions();
        conditions.extend(self.restart_storm(signals, now));
        let mut before = std::mem::take(&mut self.conditions);
        let mut changes = Vec::new();
        for FaultCondition { fault, subject, epoch, since, detail } in conditions {
            let detail = excerpt::error(&detail).to_string();
            let key = (fault, subject, epoch);
            let known = before.remove(&key);
            let first = known.as_ref().map_or(now, |known| known.since);
            let since = since.unwrap_or(first);
            let is_fault = now.saturating_duration_since(since) >= self.limit(fault);
            if is_fault != known.is_some_and(|known| known.is_fault) {
                changes.push(change(&key, &detail, is_fault));
            }
            self.conditions.insert(key, Present { since, detail, is_fault });
        }
        let gone = before.into_iter().filter(|(_, present)| present.is_fault);
        changes.extend(gone.map(|(key, present)| change(&key, &present.detail, false)));
        changes.sort_by(|one, other| (one.fault, &one.subject).cmp(&(other.fault, &other.subject)));
        self.has_started |=
            signals.has_answered && signals.is_settled() && signals.tasks_ended == 0;
        self.has_had_share |= signals.has_sources && signals.is_settled();
        self.phase = self.next_phase(signals, now);
        changes
    }

    fn next_phase(&self, signals: &Signals, now: Instant) -> Option<NotReadyReason> {
        // A bus may be checked before it reads anything. It then waits for its first share.
        let is_starting = !self.has_started || !(self.has_had_share || signals.is_settled());
        let begun = |name| {
            self.phase.as_ref().filter(|phase| phase.name == name).and_then(|phase| phase.since)
        };
        if signals.is_closing {
            let (name, detail) = ("shutting_down", "the bus is shut down, or shutting down");
            Some(NotReadyReason::new(name, detail, Some(begun(name).unwrap_or(now))))
        } else if is_starting {
            let (detail, since) = signals.awaited();
            let since = since.or(begun("starting")).unwrap_or(now);
            Some(NotReadyReason::new("starting", &detail, Some(since)))
        } else {
            None
        }
    }

    /// The present faults, by name and subject.
    pub(super) fn faults(&self) -> Vec<ActiveFault> {
        let active = |((fault, subject, _), present): (&Key, &Present)| ActiveFault {
            fault: *fault,
            subject: subject.clone(),
            detail: present.detail.clone(),
            since: present.since,
        };
        let present = self.conditions.iter().filter(|(_, present)| present.is_fault);
        let mut faults: Vec<_> = present.map(active).collect();
        faults.sort_by(|one, other| (one.fault, &one.subject).cmp(&(other.fault, &other.subject)));
        faults
    }

    /// Whether no fault calls for a new process.
    pub(super) fn is_live(&self) -> bool {
        !self.conditions.iter().any(|((fault, ..), present)| present.is_fault && fault.is_deadly())
    }

    /// Whether the bus has ever begun to work.
    pub(super) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Whether the bus can do its work now.
    pub(super) fn is_ready(&self) -> bool {
        self.not_ready().is_empty()
    }

    /// Why the bus is not ready; empty exactly when it is.
    pub(super) fn not_ready(&self) -> Vec<NotReadyReason> {
        let blocking = self.faults().into_iter().filter(|active| active.fault.blocks_readiness());
        let of_fault = |ActiveFault { fault, subject, detail, since }| NotReadyReason {
            name: Fault::as_str(fault),
            subject,
            detail,
            since: Some(since),
        };
        self.phase.iter().cloned().chain(blocking.map(of_fault)).collect()
    }

    const fn limit(&self, fault: Fault) -> Duration {
        let limits = &self.limits;
        match fault {
            Fault::BrokerGone | Fault::BrokerSilent | Fault::ClientEnded => limits.broker_limit,
            Fault::GroupNotStable => limits.group_limit,
            Fault::PublisherStuck | Fault::ProbesLost => limits.probe.limit,
            Fault::DeadPartition => limits.partition_limit,
            Fault::CommitRefused => limits.settlement_limit,
            Fault::PausedTooLong => limits.pause_limit,
            Fault::StuckHandler => limits.handler_limit,
            Fault::PoolFull | Fault::PartitionHeld => limits.pool_limit,
            Fault::CredentialExpired
            | Fault::DeadLetterUnwritable
            | Fault::ReadingEnded
            | Fault::BlockedKey
            | Fault::RestartStorm
            | Fault::MemoryCeiling
            | Fault::TaskEnded => Duration::ZERO,
        }
    }

    /// The condition of actors that are restarted too often.
    fn restart_storm(&mut self, signals: &Signals, now: Instant) -> Option<FaultCondition> {
        let most = self.limits.restarts as usize;
        let new = signals.stats.restarts.saturating_sub(self.restarts_counted);
        self.restarts_counted = signals.stats.restarts;
        let new = usize::try_from(new).unwrap_or(usize::MAX).min(most);
        self.restarts.extend(std::iter::repeat_n(now, new));
        while self.restarts.len() > most {
            self.restarts.pop_front();
        }
        let first = *self.restarts.front().filter(|_| most > 0 && self.restarts.len() == most)?;
        let is_recent = !signals.is_closing && now.saturating_duration_since(first) < WINDOW;
        // An epoch apart from that of actors that cool down, which have the same fault.
        let storm = || {
            let detail = format!("{most} restarts within a minute");
            FaultCondition::new(Fault::RestartStorm, "", &detail).in_epoch(1)
        };
        is_recent.then(storm)
    }
}

fn change((fault, subject, _): &Key, detail: &str, is_on: bool) -> FaultChange {
    FaultChange { fault: *fault, subject: subject.clone(), detail: detail.to_owned(), is_on }
}

#[cfg(test)]
#[path = "evaluator/tests.rs"]
mod tests;
