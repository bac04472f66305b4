//! What a member holds of its group, as a state machine: assignments, deliveries, settlements,
//! revocations and answers to commits go in; where to read, what to commit and what may be let go
//! come out. No client, no clock, no thread.
//!
//! Each assignment has a generation of its own, and everything that is said of it names that. What
//! is said of one that was let go changes nothing.

use buslane_core::Topic;
use buslane_offsets::{
    Delivery, Limits, PendingCommit, Tracker,
    codec::{MetadataError, decode},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
}

/// When to commit, and how much.
#[derive(Debug, Clone)]
pub(crate) struct CommitRules {
    pub(crate) interval: Duration,
    pub(crate) every: u64,
    pub(crate) metadata_limit: usize,
}

/// Time until what was refused is offered again.
const AGAIN: Duration = Duration::from_millis(100);

/// A new assignment.
pub(crate) struct Assigned {
    pub(crate) generation: u64,
    /// Where to read from; `None` leaves it to the client's rule for groups that have committed
    /// nothing.
    pub(crate) from: Option<u64>,
    /// Why the metadata of the last commit was not used.
    pub(crate) unreadable: Option<MetadataError>,
}

/// What to do with a message that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Hand it out.
    Run,
    /// It is done, or being handled: drop it.
    Skip,
    /// Keep it until older ones are settled.
    Wait,
}

/// The commit of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) generation: u64,
    pub(crate) place: Place,
    pub(crate) offer: PendingCommit,
}

struct Held {
    place: Place,
    tracker: Option<Tracker>,
    /// Handed out and not settled.
    running: u64,
    committed: Option<u64>,
}

pub(crate) struct Membership {
    held: HashMap<u64, Held>,
    by_place: HashMap<Place, u64>,
    generations: u64,
    rules: CommitRules,
    settled: u64,
    last_commit: Option<Instant>,
    /// Sent, and not answered.
    sent: Vec<Commit>,
    /// The last answer was a refusal of some of it.
    refused: bool,
}

impl Membership {
    pub(crate) fn new(rules: CommitRules) -> Self {
        Self {
            held: HashMap::new(),
            by_place: HashMap::new(),
            generations: 0,
            rules,
            settled: 0,
            last_commit: None,
            sent: Vec::new(),
            refused: false,
        }
    }

    /// A partition is given to this member, with what the group has committed for it.
    pub(crate) fn assign(&mut self, place: Place, committed: Option<(u64, &str)>) -> Assigned {
        self.generations += 1;
        let generation = self.generations;
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
        self.by_place.insert(place.clone(), generation);
        self.held.insert(
            generation,
            Held { place, tracker, running: 0, committed: committed.map(|(offset, _)| offset) },
        );
        Assigned { generation, from: committed.map(|(offset, _)| offset), unreadable }
    }

    /// The generation in which a partition is held.
    pub(crate) fn generation(&self, place: &Place) -> Option<u64> {
        self.by_place.get(place).copied()
    }

    /// Offsets that may arrive before [`Arrival::Wait`].
    pub(crate) fn room(&self, generation: u64) -> usize {
        match self.held.get(&generation) {
            Some(Held { tracker: Some(tracker), .. }) => {
                usize::try_from(tracker.room()).unwrap_or(usize::MAX)
            }
            Some(_) => usize::MAX,
            None => 0,
        }
    }

    /// A message came.
    pub(crate) fn arrived(&mut self, generation: u64, offset: u64) -> Arrival {
        let Some(held) = self.held.get_mut(&generation) else { return Arrival::Skip };
        let tracker = held.tracker.get_or_insert_with(|| Tracker::new(offset, Limits::default()));
        match tracker.deliver(offset) {
            Delivery::New => {
                held.running += 1;
                Arrival::Run
            }
            Delivery::Full => Arrival::Wait,
            _ => Arrival::Skip,
        }
    }

    /// Messages were settled, or given back. Returns where to read again, if something was given
    /// back.
    pub(crate) fn settled(&mut self, generation: u64, done: &[u64], back: &[u64]) -> Option<u64> {
        let held = self.held.get_mut(&generation)?;
        let tracker = held.tracker.as_mut()?;
        for offset in done {
            if tracker.complete(*offset) {
                held.running -= 1;
                self.settled += 1;
            }
        }
        for offset in back {
            if tracker.give_back(*offset) {
                held.running -= 1;
            }
        }
        tracker.next_wanted()
    }

    /// A commit must be acknowledged before messages of `generation` are handed out.
    pub(crate) fn settle_first(&mut self, generation: u64, offset: u64) {
        self.settled(generation, &[offset], &[]);
    }

    /// The offset that the group has committed: everything below it is settled for good.
    pub(crate) fn committed(&self, generation: u64) -> Option<u64> {
        self.held.get(&generation)?.committed
    }

    /// The lowest offset that is not settled, once something of the partition is known.
    pub(crate) fn low(&self, generation: u64) -> Option<u64> {
        self.held.get(&generation)?.tracker.as_ref().map(Tracker::low)
    }

    /// How many messages below which offset are not settled, once something of the partition is
    /// known.
    pub(crate) fn open(&self, generation: u64) -> Option<(u64, u64)> {
        self.held.get(&generation)?.tracker.as_ref().map(|tracker| (tracker.open(), tracker.next()))
    }

    /// Nothing of these is being handled any more.
    pub(crate) fn is_drained(&self, generations: &[u64]) -> bool {
        self.running(generations) == 0
    }

    /// Messages of these that are being handled.
    pub(crate) fn running(&self, generations: &[u64]) -> u64 {
        generations
            .iter()
            .filter_map(|generation| self.held.get(generation))
            .map(|held| held.running)
            .sum()
    }

    /// Everything that is held.
    pub(crate) fn generations(&self) -> Vec<u64> {
        self.held.keys().copied().collect()
    }

    /// What to commit now, if it is time to.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Commit> {
        let last = *self.last_commit.get_or_insert(now);
        let interval =
            if self.refused { self.rules.interval.min(AGAIN) } else { self.rules.interval };
        let is_time = self.settled >= self.rules.every || now.duration_since(last) >= interval;
        if !is_time || self.is_committing() {
            return Vec::new();
        }
        self.last_commit = Some(now);
        self.settled = 0;
        let generations = self.generations();
        self.offers(&generations)
    }

    /// Time until [`Membership::due`] may have something.
    pub(crate) fn until_due(&self, now: Instant) -> Duration {
        let last = self.last_commit.unwrap_or(now);
        (last + self.rules.interval).saturating_duration_since(now)
    }

    /// What to commit of these, whatever the time. Answer it before the next.
    pub(crate) fn offers(&mut self, generations: &[u64]) -> Vec<Commit> {
        let limit = self.rules.metadata_limit;
        let mut commits = Vec::new();
        for generation in generations {
            if let Some(Held { place, tracker: Some(tracker), .. }) = self.held.get_mut(generation)
                && let Some(offer) = tracker.next_commit(limit)
            {
                commits.push(Commit { generation: *generation, place: place.clone(), offer });
            }
        }
        self.sent.extend(commits.iter().cloned());
        commits
    }

    /// A commit was sent and is not answered yet.
    pub(crate) fn is_committing(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The broker's answer: which partitions it refused. Returns how many commits it took.
    pub(crate) fn answered(&mut self, mut is_refused: impl FnMut(&Place) -> bool) -> usize {
        let mut taken = 0;
        self.refused = false;
        for Commit { generation, place, offer } in std::mem::take(&mut self.sent) {
            let Some(Held { tracker: Some(tracker), committed, .. }) =
                self.held.get_mut(&generation)
            else {
                continue;
            };
            if is_refused(&place) {
                self.refused = true;
                tracker.refused(&offer);
            } else {
                tracker.acknowledged(&offer);
                *committed = Some(offer.offset);
                taken += 1;
            }
        }
        taken
    }

    /// Whether the last answer refused something.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// The broker takes less metadata than it was sent.
    pub(crate) fn halve_metadata(&mut self) -> usize {
        self.rules.metadata_limit /= 2;
        self.rules.metadata_limit
    }

    /// Lets assignments go; returns how many messages of them are still being handled.
    pub(crate) fn release(&mut self, generations: &[u64]) -> u64 {
        let stragglers = self.running(generations);
        for generation in generations {
            if let Some(held) = self.held.remove(generation)
                && self.by_place.get(&held.place) == Some(generation)
            {
                self.by_place.remove(&held.place);
            }
        }
        stragglers
    }
}

#[cfg(test)]
mod simulation;
