//! The state machine of a group member. Inputs are assignments, deliveries, settlements,
//! revocations and answers to commits. Outputs are offsets to read from, commits, and partitions to
//! release. It has no client, no clock and no thread.
//!
//! Each assignment has a generation, and every event carries the generation of its assignment.
//! Events for a released generation are ignored.

use buslane_core::Topic;
use buslane_offsets::{
    Disposition, Limits, PendingCommit, Tracker,
    codec::{MetadataError, decode},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TopicPartition {
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
}

impl TopicPartition {
    /// From librdkafka's name and number; `None` when they name no valid topic or partition.
    pub(crate) fn new(topic: &str, number: i32) -> Option<Self> {
        Some(Self { topic: Topic::new(topic).ok()?, partition: u32::try_from(number).ok()? })
    }

    /// The number of the partition as librdkafka takes it.
    pub(crate) fn number(&self) -> i32 {
        i32::try_from(self.partition).unwrap_or(i32::MAX)
    }
}

/// The group's position in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The lowest offset that is not settled.
    pub(crate) low: u64,
    /// Messages below `next` that are not settled.
    pub(crate) open: u64,
    /// One past the highest offset that has arrived.
    pub(crate) next: u64,
}

/// When to commit, and how much metadata a commit may carry.
#[derive(Debug, Clone)]
pub(crate) struct CommitRules {
    pub(crate) interval: Duration,
    pub(crate) every: u64,
    pub(crate) metadata_limit: usize,
}

/// Time until a refused commit is offered again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A new assignment.
pub(crate) struct Assigned {
    pub(crate) generation: u64,
    /// The offset to read from. `None` applies the client's offset reset, because the group has no
    /// commit.
    pub(crate) from: Option<u64>,
    /// Why the metadata of the last commit is unused.
    pub(crate) unreadable: Option<MetadataError>,
}

/// The decision about an arrived message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Hand it out.
    Run,
    /// Drop it: the message is done, or a handler holds it.
    Skip,
    /// Keep it until older messages are settled.
    Wait,
}

/// The commit of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) generation: u64,
    pub(crate) partition: TopicPartition,
    pub(crate) offer: PendingCommit,
}

struct AssignedPartition {
    partition: TopicPartition,
    /// `None` until the group has a commit or a message arrives.
    tracker: Option<Tracker>,
    /// Messages that are handed out and not settled.
    running: u64,
    committed: Option<u64>,
}

pub(crate) struct Membership {
    assigned: HashMap<u64, AssignedPartition>,
    generations: HashMap<TopicPartition, u64>,
    last_generation: u64,
    rules: CommitRules,
    /// Settlements since the last commit.
    settled: u64,
    last_commit: Option<Instant>,
    /// Commits without an answer yet.
    sent: Vec<Commit>,
    /// Whether the last answer refused a commit.
    refused: bool,
    /// Settled offsets so far that had no room in the metadata of a commit.
    left_out: u64,
}

impl Membership {
    pub(crate) fn new(rules: CommitRules) -> Self {
        Self {
            assigned: HashMap::new(),
            generations: HashMap::new(),
            last_generation: 0,
            rules,
            settled: 0,
            last_commit: None,
            sent: Vec::new(),
            refused: false,
            left_out: 0,
        }
    }

    /// Adds an assignment, with the committed offset and metadata of the group.
    pub(crate) fn assign(
        &mut self,
        partition: TopicPartition,
        committed: Option<(u64, &str)>,
    ) -> Assigned {
        self.last_generation += 1;
        let generation = self.last_generation;
        let limits = Limits::default();
        let mut unreadable = None;
        let tracker =
            committed.map(|(offset, metadata)| match decode(metadata, offset, limits.span) {
                Ok(done) => Tracker::restore(done, limits),
                Err(error) => {
                    unreadable = Some(error);
                    Tracker::new(offset, limits)
                }
            });
        let committed = committed.map(|(offset, _)| offset);
        self.generations.insert(partition.clone(), generation);
        self.assigned
            .insert(generation, AssignedPartition { partition, tracker, running: 0, committed });
        Assigned { generation, from: committed, unreadable }
    }

    /// The generation of a partition's present assignment.
    pub(crate) fn generation(&self, partition: &TopicPartition) -> Option<u64> {
        self.generations.get(partition).copied()
    }

    /// The number of offsets that may arrive before [`Arrival::Wait`].
    pub(crate) fn room(&self, generation: u64) -> usize {
        match self.assigned.get(&generation) {
            Some(AssignedPartition { tracker: Some(tracker), .. }) => {
                usize::try_from(tracker.room()).unwrap_or(usize::MAX)
            }
            Some(_) => usize::MAX,
            None => 0,
        }
    }

    /// Tracks an arrived message, and decides about it.
    pub(crate) fn arrived(&mut self, generation: u64, offset: u64) -> Arrival {
        let Some(assigned) = self.assigned.get_mut(&generation) else { return Arrival::Skip };
        let tracker =
            assigned.tracker.get_or_insert_with(|| Tracker::new(offset, Limits::default()));
        match tracker.deliver(offset) {
            Disposition::New => {
                assigned.running += 1;
                Arrival::Run
            }
            Disposition::Full => Arrival::Wait,
            _ => Arrival::Skip,
        }
    }

    /// Records done and abandoned messages. Returns the offset to read from again while some of the
    /// abandoned messages have not arrived again.
    pub(crate) fn settled(
        &mut self,
        generation: u64,
        done: &[u64],
        returned: &[u64],
    ) -> Option<u64> {
        let assigned = self.assigned.get_mut(&generation)?;
        let tracker = assigned.tracker.as_mut()?;
        for offset in done {
            if tracker.complete(*offset) {
                assigned.running -= 1;
                self.settled += 1;
            }
        }
        for offset in returned {
            if tracker.give_back(*offset) {
                assigned.running -= 1;
            }
        }
        tracker.next_wanted()
    }

    /// Settles a message before it is handed out: the broker must acknowledge the commit first.
    pub(crate) fn settle_first(&mut self, generation: u64, offset: u64) {
        self.settled(generation, &[offset], &[]);
    }

    /// The offset that the group has committed: all messages below it are done.
    pub(crate) fn committed(&self, generation: u64) -> Option<u64> {
        self.assigned.get(&generation)?.committed
    }

    /// The group's position; `None` until the group has a commit or a message arrives.
    pub(crate) fn position(&self, generation: u64) -> Option<Position> {
        let tracker = self.assigned.get(&generation)?.tracker.as_ref()?;
        Some(Position { low: tracker.low(), open: tracker.open(), next: tracker.next() })
    }

    /// Whether no handler holds a message of these assignments.
    pub(crate) fn is_drained(&self, generations: &[u64]) -> bool {
        self.running(generations) == 0
    }

    /// The number of messages of these assignments in handlers.
    pub(crate) fn running(&self, generations: &[u64]) -> u64 {
        generations
            .iter()
            .filter_map(|generation| self.assigned.get(generation))
            .map(|assigned| assigned.running)
            .sum()
    }

    /// The generations of all present assignments.
    pub(crate) fn generations(&self) -> Vec<u64> {
        self.assigned.keys().copied().collect()
    }

    /// The commits that are due now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Commit> {
        let last = *self.last_commit.get_or_insert(now);
        let interval = if self.refused {
            self.rules.interval.min(RETRY_INTERVAL)
        } else {
            self.rules.interval
        };
        let is_time = self.settled >= self.rules.every || now.duration_since(last) >= interval;
        if !is_time || self.is_committing() {
            return Vec::new();
        }
        self.last_commit = Some(now);
        self.settled = 0;
        let generations = self.generations();
        self.offers(&generations)
    }

    /// Time until a commit is due.
    pub(crate) fn until_due(&self, now: Instant) -> Duration {
        let last = self.last_commit.unwrap_or(now);
        (last + self.rules.interval).saturating_duration_since(now)
    }

    /// The commits of these assignments, due or not. Call [`Membership::answered`] before the
    /// next commit.
    pub(crate) fn offers(&mut self, generations: &[u64]) -> Vec<Commit> {
        let limit = self.rules.metadata_limit;
        let mut commits = Vec::new();
        for generation in generations {
            let assigned = self.assigned.get_mut(generation);
            let Some(AssignedPartition { partition, tracker: Some(tracker), .. }) = assigned else {
                continue;
            };
            let before = tracker.left_out();
            if let Some(offer) = tracker.next_commit(limit) {
                let partition = partition.clone();
                commits.push(Commit { generation: *generation, partition, offer });
            }
            // The next commit leaves the same ones out again.
            self.left_out += tracker.left_out().saturating_sub(before);
        }
        self.sent.extend(commits.iter().cloned());
        commits
    }

    /// Whether a commit is not answered yet.
    pub(crate) fn is_committing(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Applies the broker's answer, which refuses the partitions for which `is_refused` holds.
    pub(crate) fn answered(&mut self, mut is_refused: impl FnMut(&TopicPartition) -> bool) {
        self.refused = false;
        for Commit { generation, partition, offer } in std::mem::take(&mut self.sent) {
            let Some(AssignedPartition { tracker: Some(tracker), committed, .. }) =
                self.assigned.get_mut(&generation)
            else {
                continue;
            };
            if is_refused(&partition) {
                self.refused = true;
                tracker.refused(&offer);
            } else {
                tracker.acknowledged(&offer);
                *committed = Some(offer.offset);
            }
        }
    }

    /// Whether the last answer refused a commit.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// The number of settled offsets so far that had no room in the metadata of a commit.
    pub(crate) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Halves the metadata of later commits, because the broker refused it as too large. Returns
    /// the new limit.
    pub(crate) fn halve_metadata(&mut self) -> usize {
        self.rules.metadata_limit /= 2;
        self.rules.metadata_limit
    }

    /// Removes an assignment. Returns the number of its messages that handlers still hold.
    pub(crate) fn release(&mut self, generation: u64) -> u64 {
        let Some(assigned) = self.assigned.remove(&generation) else { return 0 };
        if self.generations.get(&assigned.partition) == Some(&generation) {
            self.generations.remove(&assigned.partition);
        }
        assigned.running
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
