//! The judge: observations go in, faults come out. Pure: the time is an argument.
//!
//! A sign that lasts for as long as its limit is a fault; one that goes is forgotten. What a sign
//! is about, and its mark, tell whether it is still the same.

use super::{
    Fault,
    observation::{Observation, Sign, sign},
};
use crate::config::HealthConfig;
use buslane_core::excerpt;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Within how long restarts are counted.
const WINDOW: Duration = Duration::from_secs(60);

type Key = (Fault, String, u64);

/// A fault that was begun or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(super) fault: Fault,
    pub(super) subject: String,
    pub(super) detail: String,
    /// It is there now.
    pub(super) is_on: bool,
}

/// A fault that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(super) fault: Fault,
    pub(super) subject: String,
    pub(super) detail: String,
    pub(super) since: Instant,
}

/// What keeps a bus from being ready: a fault, its beginning or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(super) name: &'static str,
    pub(super) subject: String,
    pub(super) detail: String,
    /// Unknown before the first look.
    pub(super) since: Option<Instant>,
}

impl Obstacle {
    fn new(name: &'static str, detail: &str, since: Option<Instant>) -> Self {
        Self { name, subject: String::new(), detail: detail.to_owned(), since }
    }
}

struct Seen {
    since: Instant,
    detail: String,
    is_fault: bool,
}

pub(crate) struct Judge {
    limits: HealthConfig,
    seen: HashMap<Key, Seen>,
    /// When actors were restarted, as many times as make a storm.
    restarts: VecDeque<Instant>,
    restarted: u64,
    has_started: bool,
    /// It has had a share of its group, once.
    has_shared: bool,
    /// Where it is in its life, until it has begun to work and once it ends.
    phase: Option<Obstacle>,
}

impl Judge {
    pub(crate) fn new(limits: &HealthConfig) -> Self {
        Self {
            limits: limits.clone(),
            seen: HashMap::new(),
            restarts: VecDeque::new(),
            restarted: 0,
            has_started: false,
            has_shared: false,
            phase: Some(Obstacle::new("starting", "waiting for the first look at the bus", None)),
        }
    }

    /// The bus was looked at. Which faults have come or gone since the look before.
    pub(crate) fn observe(&mut self, look: &Observation, now: Instant) -> Vec<Change> {
        let mut signs = look.signs();
        signs.extend(self.storm(look, now));
        let mut before = std::mem::take(&mut self.seen);
        let mut changes = Vec::new();
        for Sign { fault, subject, mark, since, detail } in signs {
            let detail = excerpt::error(&detail).to_string();
            let key = (fault, subject, mark);
            let known = before.remove(&key);
            let first = known.as_ref().map_or(now, |known| known.since);
            let since = since.unwrap_or(first);
            let is_fault = now.saturating_duration_since(since) >= self.limit(fault);
            if is_fault != known.is_some_and(|known| known.is_fault) {
                changes.push(change(&key, &detail, is_fault));
            }
            self.seen.insert(key, Seen { since, detail, is_fault });
        }
        let gone = before.into_iter().filter(|(_, seen)| seen.is_fault);
        changes.extend(gone.map(|(key, seen)| change(&key, &seen.detail, false)));
        changes.sort_by(|one, other| (one.fault, &one.subject).cmp(&(other.fault, &other.subject)));
        self.has_started |= look.has_answered && look.is_settled() && look.tasks_ended == 0;
        self.has_shared |= look.has_sources && look.is_settled();
        // A bus may be asked before it reads anything. What it waits for then is its first share.
        let is_starting = !self.has_started || !(self.has_shared || look.is_settled());
        let begun = |name| {
            self.phase.as_ref().filter(|phase| phase.name == name).and_then(|phase| phase.since)
        };
        self.phase = if look.is_closing {
            let since = begun("shutting_down").unwrap_or(now);
            Some(Obstacle::new(
                "shutting_down",
                "the bus is shut down, or shutting down",
                Some(since),
            ))
        } else if is_starting {
            let (detail, since) = look.awaited();
            Some(Obstacle::new(
                "starting",
                &detail,
                Some(since.or(begun("starting")).unwrap_or(now)),
            ))
        } else {
            None
        };
        changes
    }

    /// The faults that are there, by name and subject.
    pub(crate) fn faults(&self) -> Vec<Found> {
        let found = |((fault, subject, _), seen): (&Key, &Seen)| Found {
            fault: *fault,
            subject: subject.clone(),
            detail: seen.detail.clone(),
            since: seen.since,
        };
        let mut faults: Vec<_> =
            self.seen.iter().filter(|(_, seen)| seen.is_fault).map(found).collect();
        faults.sort_by(|one, other| (one.fault, &one.subject).cmp(&(other.fault, &other.subject)));
        faults
    }

    /// Whether a new process would not be better.
    pub(crate) fn is_live(&self) -> bool {
        !self.has(Fault::is_deadly)
    }

    /// Whether it has begun to work, once.
    pub(crate) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Whether it can do what it is there for.
    pub(crate) fn is_ready(&self) -> bool {
        self.obstacles().is_empty()
    }

    /// Why it is not ready. It is ready exactly when nothing stands here, so it is never without a
    /// reason.
    pub(crate) fn obstacles(&self) -> Vec<Obstacle> {
        let in_the_way = self.faults().into_iter().filter(|found| found.fault.is_in_the_way());
        let of_fault = |Found { fault, subject, detail, since }| Obstacle {
            name: Fault::as_str(fault),
            subject,
            detail,
            since: Some(since),
        };
        self.phase.iter().cloned().chain(in_the_way.map(of_fault)).collect()
    }

    fn has(&self, which: impl Fn(Fault) -> bool) -> bool {
        self.seen.iter().any(|((fault, ..), seen)| seen.is_fault && which(*fault))
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

    /// Whether actors were restarted too often of late.
    fn storm(&mut self, look: &Observation, now: Instant) -> Option<Sign> {
        let most = self.limits.restarts as usize;
        let new = look.stats.restarts.saturating_sub(self.restarted);
        self.restarted = look.stats.restarts;
        let new = usize::try_from(new).unwrap_or(usize::MAX).min(most);
        self.restarts.extend(std::iter::repeat_n(now, new));
        while self.restarts.len() > most {
            self.restarts.pop_front();
        }
        let first = *self.restarts.front().filter(|_| most > 0 && self.restarts.len() == most)?;
        let is_recent = !look.is_closing && now.saturating_duration_since(first) < WINDOW;
        // Beside actors that cool down, which have a sign of their own.
        let found = || Sign {
            mark: 1,
            ..sign(Fault::RestartStorm, "", &format!("{most} restarts within a minute"))
        };
        is_recent.then(found)
    }
}

fn change((fault, subject, _): &Key, detail: &str, is_on: bool) -> Change {
    Change { fault: *fault, subject: subject.clone(), detail: detail.to_owned(), is_on }
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
