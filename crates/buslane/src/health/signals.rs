//! The inputs of one health check, and the conditions of faults in them. Pure: no clock and no IO.

use super::Fault;
use crate::state::{BlockedKey, BlockedSnapshot, Waiting};
use buslane_core::{PoolStats, RunningJob, SubmitError, Symptom, SymptomKind, Topic};
use std::time::{Duration, Instant};

/// A condition that is a fault when it lasts longer than its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FaultCondition {
    pub(super) fault: Fault,
    /// A topic, a partition or a message; empty for the bus as a whole.
    pub(super) subject: String,
    /// Tells apart two conditions of the same subject: another epoch begins anew.
    pub(super) epoch: u64,
    /// When it began, where that was noted; otherwise the check that finds it first counts.
    pub(super) since: Option<Instant>,
    pub(super) detail: String,
}

impl FaultCondition {
    pub(super) fn new(fault: Fault, subject: &str, detail: &str) -> Self {
        let (subject, detail) = (subject.to_owned(), detail.to_owned());
        Self { fault, subject, epoch: 0, since: None, detail }
    }

    /// The same, begun then.
    fn since(self, since: Instant) -> Self {
        Self { since: Some(since), ..self }
    }

    /// The same, in this epoch.
    pub(super) fn in_epoch(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }
}

/// A running attempt of a handler.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) job: RunningJob,
    /// Topic and partition of its message, while the source is read.
    pub(crate) partition: Option<String>,
}

/// A source that waits for room in the pool.
#[derive(Debug, Clone)]
pub(crate) struct Stall {
    pub(crate) partition: String,
    pub(crate) waiting: Waiting,
}

/// A partition whose pump waits for messages although the broker holds some for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SilentPartition {
    pub(crate) partition: String,
    pub(crate) unread: u64,
    /// Messages taken so far. One more shows that the partition is alive.
    pub(crate) taken: u64,
}

/// The state of the probes.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProbeStatus {
    /// When the last acknowledged probe was sent, or probing began.
    pub(crate) acknowledged: Option<Instant>,
    /// When the last probe that came back was sent, or probing began; `None` where this member
    /// reads no partition of the topic.
    pub(crate) returned: Option<Instant>,
    /// Why the last probe was not acknowledged.
    pub(crate) reason: String,
}

/// The inputs of one health check.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    pub(crate) stats: PoolStats,
    pub(crate) running: Vec<Running>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) silent: Vec<SilentPartition>,
    /// Paused topics, and since when.
    pub(crate) paused: Vec<(Topic, Instant)>,
    /// Topics that are read although they have no handler.
    pub(crate) held: Vec<Topic>,
    /// The blocked keys.
    pub(crate) blocked: BlockedSnapshot,
    /// Why the last dead letter was not written.
    pub(crate) unwritable: Option<String>,
    /// Resident memory in bytes, where it is known.
    pub(crate) memory: Option<u64>,
    /// Since when the connection is lost, and why.
    pub(crate) lost: Option<(Instant, String)>,
    /// When the first of the unanswered pings was sent.
    pub(crate) unanswered: Option<Instant>,
    /// Whether the broker has ever answered.
    pub(crate) has_answered: bool,
    pub(crate) symptoms: Vec<Symptom>,
    /// Whether the bus reads a partition.
    pub(crate) has_sources: bool,
    pub(crate) probes: Option<ProbeStatus>,
    /// Why reading has ended for good.
    pub(crate) failed: Option<String>,
    /// Tasks that ended although the bus is open.
    pub(crate) tasks_ended: usize,
    /// Whether the bus is shut down, or shutting down.
    pub(crate) is_closing: bool,
    /// The ceiling of resident memory in bytes; 0 for none.
    pub(crate) ceiling: u64,
}

/// A connection lost this much later than the first unanswered ping belongs to a silent broker.
const SLACK: Duration = Duration::from_secs(2);

impl Signals {
    /// Whether the consumer group is stable.
    pub(super) fn is_settled(&self) -> bool {
        self.symptoms.iter().all(|symptom| symptom.kind != SymptomKind::GroupUnsettled)
    }

    /// What a starting bus waits for, and since when, where that was noted.
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

    /// All conditions that are faults when they last. A bus that shuts down has none.
    pub(super) fn conditions(&self) -> Vec<FaultCondition> {
        let mut conditions = Vec::new();
        if !self.is_closing {
            self.broker_conditions(&mut conditions);
            self.reading_conditions(&mut conditions);
            self.handler_conditions(&mut conditions);
            self.process_conditions(&mut conditions);
        }
        conditions
    }

    fn broker_conditions(&self, conditions: &mut Vec<FaultCondition>) {
        let is_refused =
            self.symptoms.iter().any(|symptom| symptom.kind == SymptomKind::LoginRefused);
        // A broker that hangs keeps its connections for a while: pings go unanswered before the
        // connection is lost.
        let is_silent = match (self.unanswered, &self.lost) {
            (Some(asked), Some((lost, _))) => *lost > asked + SLACK,
            (asked, _) => asked.is_some(),
        };
        match (&self.lost, self.unanswered) {
            // A refused login also loses the connection: the cause has the name.
            _ if is_refused => {}
            (Some((since, reason)), _) if !is_silent => {
                let gone = FaultCondition::new(Fault::BrokerGone, "", reason);
                conditions.push(gone.since(*since));
            }
            (_, Some(since)) => {
                let detail = "it is connected and answers no question";
                let silent = FaultCondition::new(Fault::BrokerSilent, "", detail);
                conditions.push(silent.since(since));
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
            // A broker that is away confirms no settlement and assigns no partition.
            let is_consequence = matches!(
                fault,
                Fault::CommitRefused | Fault::GroupNotStable | Fault::DeadPartition
            );
            if is_consequence && self.is_broker_away() {
                continue;
            }
            let subject =
                symptom.partition.as_ref().map(|(topic, partition)| format!("{topic}/{partition}"));
            let condition =
                FaultCondition::new(fault, &subject.unwrap_or_default(), &symptom.reason);
            conditions.push(condition.since(symptom.since));
        }
        if let Some(probes) = &self.probes {
            probe_conditions(probes, conditions);
        }
    }

    fn reading_conditions(&self, conditions: &mut Vec<FaultCondition>) {
        let silent = self.silent.iter().filter(|_| !self.is_broker_away());
        for SilentPartition { partition, unread, taken } in silent {
            let detail = format!("{unread} messages wait at the broker and none comes");
            let dead = FaultCondition::new(Fault::DeadPartition, partition, &detail);
            conditions.push(dead.in_epoch(*taken));
        }
        for (topic, since) in &self.paused {
            let paused = FaultCondition::new(Fault::PausedTooLong, topic, "it is paused");
            conditions.push(paused.since(*since));
        }
        for topic in &self.held {
            let detail = "it has no handler: its messages are held";
            conditions.push(FaultCondition::new(Fault::PausedTooLong, topic, detail));
        }
        for Stall { partition, waiting: Waiting { reason, key, since } } in &self.stalls {
            let (fault, detail) = match (reason, key) {
                (SubmitError::LaneFull { .. } | SubmitError::FailingFull { .. }, Some(key)) => {
                    (Fault::PartitionHeld, format!("key {key}: {reason}"))
                }
                (SubmitError::PoolFull { .. }, _) => (Fault::PoolFull, reason.to_string()),
                _ => continue,
            };
            conditions.push(FaultCondition::new(fault, partition, &detail).since(*since));
        }
        if let Some(reason) = &self.failed {
            conditions.push(FaultCondition::new(Fault::ReadingEnded, "", reason));
        }
    }

    fn handler_conditions(&self, conditions: &mut Vec<FaultCondition>) {
        for Running { job, partition } in &self.running {
            let partition = partition.as_deref().unwrap_or("a source that has ended");
            let subject = format!("{partition} offset {}", job.offset);
            let detail = format!("worker {} has not come back from it", job.worker);
            let stuck = FaultCondition::new(Fault::StuckHandler, &subject, &detail);
            conditions.push(stuck.in_epoch(job.attempt));
        }
        for (blocked, since) in &self.blocked.named {
            let BlockedKey { key, topic, partition, offset, error, .. } = blocked;
            let subject = format!("{topic}/{partition} offset {offset} key {key}");
            conditions.push(FaultCondition::new(Fault::BlockedKey, &subject, error).since(*since));
        }
        let more = match self.blocked.count - self.blocked.named.len() {
            0 => None,
            1 => Some("1 more key is blocked".to_owned()),
            more => Some(format!("{more} more keys are blocked")),
        };
        conditions.extend(more.map(|more| FaultCondition::new(Fault::BlockedKey, "", &more)));
        if let Some(reason) = self.unwritable.as_ref().filter(|_| self.blocked.count > 0) {
            conditions.push(FaultCondition::new(Fault::DeadLetterUnwritable, "", reason));
        }
        if self.stats.workers_down > 0 {
            let detail =
                format!("{} of {} actors cool down", self.stats.workers_down, self.stats.workers);
            conditions.push(FaultCondition::new(Fault::RestartStorm, "", &detail));
        }
    }

    fn process_conditions(&self, conditions: &mut Vec<FaultCondition>) {
        if let Some(memory) =
            self.memory.filter(|memory| self.ceiling > 0 && *memory > self.ceiling)
        {
            let detail = format!("{memory} bytes are resident, {} are the ceiling", self.ceiling);
            conditions.push(FaultCondition::new(Fault::MemoryCeiling, "", &detail));
        }
        if self.tasks_ended > 0 {
            let detail = format!("{} tasks of the bus have ended", self.tasks_ended);
            conditions.push(FaultCondition::new(Fault::TaskEnded, "", &detail));
        }
    }

    const fn is_broker_away(&self) -> bool {
        self.lost.is_some() || self.unanswered.is_some()
    }
}

fn probe_conditions(probes: &ProbeStatus, conditions: &mut Vec<FaultCondition>) {
    if let Some(since) = probes.acknowledged {
        let detail = format!("no probe acknowledged: {}", probes.reason);
        conditions.push(FaultCondition::new(Fault::PublisherStuck, "", &detail).since(since));
    }
    // A probe that was not acknowledged cannot come back: that is the other fault.
    if let Some(since) = probes.returned.filter(|since| probes.acknowledged > Some(*since)) {
        let detail = "acknowledged, and none came back";
        conditions.push(FaultCondition::new(Fault::ProbesLost, "", detail).since(since));
    }
}
