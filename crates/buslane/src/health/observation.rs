//! What a look at the bus has found, and which signs of a fault are in it. Pure: nothing is asked
//! here, and no clock.

use super::Fault;
use crate::state::{BlockedKey, BlockedSnapshot, Waiting};
use buslane_core::{PoolStats, RunningJob, SubmitError, Symptom, SymptomKind, Topic};
use std::time::{Duration, Instant};

/// A sign of a fault: one when it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sign {
    pub(super) fault: Fault,
    /// What it is about: a topic, a partition, a message; empty for the bus as a whole.
    pub(super) subject: String,
    /// The same subject with another mark is something new.
    pub(super) mark: u64,
    /// Since when, where somebody has noted it.
    pub(super) since: Option<Instant>,
    pub(super) detail: String,
}

/// An attempt of a handler that runs.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) job: RunningJob,
    /// Topic and partition of its message, if that is still read.
    pub(crate) place: Option<String>,
}

/// A source that waits for room.
#[derive(Debug, Clone)]
pub(crate) struct Stall {
    pub(crate) place: String,
    pub(crate) waiting: Waiting,
}

/// A source whose pump waits for messages although the broker has some for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) place: String,
    pub(crate) unread: u64,
    /// Messages taken so far: any more, and it is alive.
    pub(crate) taken: u64,
}

/// How probes fare.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes {
    /// When the last one was sent that was acknowledged, or they began.
    pub(crate) acknowledged: Option<Instant>,
    /// When the last one was sent that came back, or they began; `None` where this member reads
    /// none of the topic.
    pub(crate) came_back: Option<Instant>,
    /// Why the last one was not acknowledged.
    pub(crate) reason: String,
}

/// What a look has found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    pub(crate) stats: PoolStats,
    pub(crate) running: Vec<Running>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) behind: Vec<Behind>,
    /// Topics that are paused.
    pub(crate) paused: Vec<(Topic, Instant)>,
    /// Topics that are read and have no handler.
    pub(crate) held: Vec<Topic>,
    /// Keys that are blocked.
    pub(crate) blocked: BlockedSnapshot,
    /// Why the last dead letter was not written.
    pub(crate) unwritable: Option<String>,
    /// Resident memory in bytes, where it is known.
    pub(crate) memory: Option<u64>,
    /// Since when the broker is away, and why.
    pub(crate) lost: Option<(Instant, String)>,
    /// When the first question was asked of those that the broker has not answered.
    pub(crate) unanswered: Option<Instant>,
    /// Whether it has ever answered.
    pub(crate) has_answered: bool,
    pub(crate) symptoms: Vec<Symptom>,
    /// Partitions are assigned to it.
    pub(crate) has_sources: bool,
    pub(crate) probes: Option<Probes>,
    /// Why reading has ended for good.
    pub(crate) failed: Option<String>,
    /// Tasks of the bus that have ended.
    pub(crate) tasks_ended: usize,
    /// The bus is shut down, or shutting down.
    pub(crate) is_closing: bool,
    /// Memory that is too much; 0 for none.
    pub(crate) ceiling: u64,
}

/// How much later a silent broker may be reported as lost: then the silence was first.
const SLACK: Duration = Duration::from_secs(2);

impl Observation {
    /// Whether the group has come to rest.
    pub(super) fn is_settled(&self) -> bool {
        self.symptoms.iter().all(|symptom| symptom.kind != SymptomKind::GroupUnsettled)
    }

    /// What a bus that has not begun to work waits for, and since when, where that was noted.
    pub(super) fn awaited(&self) -> (String, Option<Instant>) {
        let unsettled =
            self.symptoms.iter().find(|symptom| symptom.kind == SymptomKind::GroupUnsettled);
        if let Some((since, reason)) = &self.lost {
            return (format!("waiting for the broker: {reason}"), Some(*since));
        }
        match unsettled {
            _ if !self.has_answered => {
                ("waiting for the broker's first answer".to_owned(), self.unanswered)
            }
            Some(symptom) => (
                format!("waiting for a share of the group: {}", symptom.reason),
                Some(symptom.since),
            ),
            None => (format!("{} tasks of the bus have ended", self.tasks_ended), None),
        }
    }

    /// Everything that is a fault if it lasts. A bus that shuts down on purpose has none.
    pub(super) fn signs(&self) -> Vec<Sign> {
        let mut signs = Vec::new();
        if !self.is_closing {
            self.of_broker(&mut signs);
            self.of_reading(&mut signs);
            self.of_handlers(&mut signs);
            self.of_process(&mut signs);
        }
        signs
    }

    fn of_broker(&self, signs: &mut Vec<Sign>) {
        let is_refused =
            self.symptoms.iter().any(|symptom| symptom.kind == SymptomKind::LoginRefused);
        // A broker that stands still keeps its connections: that they end, sooner or later, is not
        // the first thing seen.
        let is_silent = match (self.unanswered, &self.lost) {
            (Some(asked), Some((lost, _))) => *lost > asked + SLACK,
            (asked, _) => asked.is_some(),
        };
        match &self.lost {
            // What follows from a refused login is told by its name.
            _ if is_refused => {}
            Some((since, reason)) if !is_silent => {
                signs.push(Sign { since: Some(*since), ..sign(Fault::BrokerGone, "", reason) });
            }
            _ if is_silent => {
                let detail = "it is connected and answers no question";
                signs
                    .push(Sign { since: self.unanswered, ..sign(Fault::BrokerSilent, "", detail) });
            }
            _ => {}
        }
        for symptom in &self.symptoms {
            let fault = match symptom.kind {
                SymptomKind::SettlementRefused => Fault::CommitRefused,
                SymptomKind::GroupUnsettled => Fault::GroupNotStable,
                SymptomKind::LoginRefused => Fault::CredentialExpired,
                SymptomKind::PartitionDead => Fault::DeadPartition,
                SymptomKind::ClientEnded => Fault::ClientEnded,
                _ => continue,
            };
            // A broker that is away confirms nothing and moves no group either.
            let follows = matches!(
                fault,
                Fault::CommitRefused | Fault::GroupNotStable | Fault::DeadPartition
            );
            if follows && (self.lost.is_some() || self.unanswered.is_some()) {
                continue;
            }
            let subject =
                symptom.partition.as_ref().map(|(topic, partition)| format!("{topic}/{partition}"));
            let found = sign(fault, &subject.unwrap_or_default(), &symptom.reason);
            signs.push(Sign { since: Some(symptom.since), ..found });
        }
        if let Some(probes) = &self.probes {
            self.of_probes(probes, signs);
        }
    }

    fn of_probes(&self, probes: &Probes, signs: &mut Vec<Sign>) {
        if let Some(since) = probes.acknowledged {
            let detail = format!("no probe acknowledged: {}", probes.reason);
            signs.push(Sign { since: Some(since), ..sign(Fault::PublisherStuck, "", &detail) });
        }
        // What is not acknowledged cannot come back: that is the other fault.
        if let Some(since) = probes.came_back.filter(|since| probes.acknowledged > Some(*since)) {
            signs.push(Sign {
                since: Some(since),
                ..sign(Fault::ProbesLost, "", "acknowledged, and none came back")
            });
        }
    }

    fn of_reading(&self, signs: &mut Vec<Sign>) {
        let is_away = self.lost.is_some() || self.unanswered.is_some();
        for Behind { place, unread, taken } in self.behind.iter().filter(|_| !is_away) {
            let detail = format!("{unread} messages wait at the broker and none comes");
            signs.push(Sign { mark: *taken, ..sign(Fault::DeadPartition, place, &detail) });
        }
        for (topic, since) in &self.paused {
            signs.push(Sign {
                since: Some(*since),
                ..sign(Fault::PausedTooLong, topic, "it is paused")
            });
        }
        for topic in &self.held {
            signs.push(sign(
                Fault::PausedTooLong,
                topic,
                "it has no handler: its messages are held",
            ));
        }
        for Stall { place, waiting: Waiting { reason, key, since } } in &self.stalls {
            let found = match (reason, key) {
                (SubmitError::LaneFull { .. } | SubmitError::ParkedFull { .. }, Some(key)) => {
                    sign(Fault::PartitionHeld, place, &format!("key {key}: {reason}"))
                }
                (SubmitError::PoolFull { .. }, _) => {
                    sign(Fault::PoolFull, place, &reason.to_string())
                }
                _ => continue,
            };
            signs.push(Sign { since: Some(*since), ..found });
        }
        if let Some(reason) = &self.failed {
            signs.push(sign(Fault::ReadingEnded, "", reason));
        }
    }

    fn of_handlers(&self, signs: &mut Vec<Sign>) {
        for Running { job, place } in &self.running {
            let place = place.as_deref().unwrap_or("a source that has ended");
            let subject = format!("{place} offset {}", job.offset);
            let detail = format!("worker {} has not come back from it", job.worker);
            // A worker runs one attempt at a time.
            signs.push(Sign { mark: job.attempt, ..sign(Fault::StuckHandler, &subject, &detail) });
        }
        for (blocked, since) in &self.blocked.named {
            let BlockedKey { key, topic, partition, offset, error, .. } = blocked;
            let subject = format!("{topic}/{partition} offset {offset} key {key}");
            signs.push(Sign { since: Some(*since), ..sign(Fault::BlockedKey, &subject, error) });
        }
        match self.blocked.count - self.blocked.named.len() {
            0 => {}
            1 => signs.push(sign(Fault::BlockedKey, "", "1 more key is blocked")),
            more => {
                signs.push(sign(Fault::BlockedKey, "", &format!("{more} more keys are blocked")))
            }
        }
        if let Some(reason) = self.unwritable.as_ref().filter(|_| self.blocked.count > 0) {
            signs.push(sign(Fault::DeadLetterUnwritable, "", reason));
        }
        if self.stats.workers_down > 0 {
            let detail =
                format!("{} of {} actors cool down", self.stats.workers_down, self.stats.workers);
            signs.push(sign(Fault::RestartStorm, "", &detail));
        }
    }

    fn of_process(&self, signs: &mut Vec<Sign>) {
        if let Some(memory) =
            self.memory.filter(|memory| self.ceiling > 0 && *memory > self.ceiling)
        {
            let detail = format!("{memory} bytes are resident, {} are the ceiling", self.ceiling);
            signs.push(sign(Fault::MemoryCeiling, "", &detail));
        }
        if self.tasks_ended > 0 {
            let detail = format!("{} tasks of the bus have ended", self.tasks_ended);
            signs.push(sign(Fault::TaskEnded, "", &detail));
        }
    }
}

pub(super) fn sign(fault: Fault, subject: &str, detail: &str) -> Sign {
    Sign { fault, subject: subject.to_owned(), mark: 0, since: None, detail: detail.to_owned() }
}
