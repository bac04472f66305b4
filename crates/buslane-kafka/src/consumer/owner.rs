//! Everything that the polling thread owns: what it reads, what it has handed out, and what it
//! commits.

mod commits;
mod lag;
mod reading;
mod rebalance;

pub(crate) use lag::Standing;

use super::{
    ages::Ages,
    assignment::{Assignment, Mail, Settled},
    context::Context,
    copier::Copier,
    membership::{CommitRules, Membership, Place},
};
use crate::{
    native::{Commits, FetchedMessage, PartitionQueue},
    reasons::Reasons,
};
use buslane_core::{EventQueue, Message, Symptoms, Topic};
use rdkafka::consumer::BaseConsumer;
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// Time between two attempts to read again what was given back.
const REREAD_PAUSE: Duration = Duration::from_millis(50);

/// One partition that is being read.
struct Reading {
    assignment: Arc<Assignment>,
    place: Place,
    /// `None` once nothing more is read.
    queue: Option<PartitionQueue>,
    /// Read, and waiting for older ones to be settled.
    waiting: VecDeque<Message>,
    /// Settled already, and handed out once that is committed: strict at-most-once.
    staged: Vec<Message>,
    settle_first: bool,
    ages: Ages,
    /// Where to read again, and not before when.
    reread: Option<(u64, Instant)>,
}

pub(crate) struct Owner {
    membership: Membership,
    readings: HashMap<u64, Reading>,
    /// Topics whose messages are settled before they are handed out.
    settle_first: HashSet<Topic>,
    commits: Option<Commits>,
    commit_sent: Option<Instant>,
    mail: Arc<Mail>,
    events: Arc<EventQueue>,
    reasons: Arc<Reasons>,
    symptoms: Arc<Symptoms>,
    drain_deadline: Duration,
    /// A group that has committed nothing begins behind the newest message.
    begins_at_end: bool,
    /// Nothing is read any more.
    stopped: bool,
    scratch: Settled,
    fetched: Vec<FetchedMessage>,
    copier: Copier,
}

impl Owner {
    pub(super) fn new(
        rules: CommitRules,
        drain_deadline: Duration,
        begins_at_end: bool,
        mail: &Arc<Mail>,
        events: &Arc<EventQueue>,
        reasons: &Arc<Reasons>,
        symptoms: &Arc<Symptoms>,
    ) -> Self {
        Self {
            membership: Membership::new(rules),
            readings: HashMap::new(),
            settle_first: HashSet::new(),
            commits: None,
            commit_sent: None,
            mail: Arc::clone(mail),
            events: Arc::clone(events),
            reasons: Arc::clone(reasons),
            symptoms: Arc::clone(symptoms),
            drain_deadline,
            begins_at_end,
            stopped: false,
            scratch: Settled::default(),
            fetched: Vec::new(),
            copier: Copier::default(),
        }
    }

    /// Makes it the owner of `client`. Until [`Owner::clear`], it must not outlive that.
    pub(super) fn own(&mut self, client: &BaseConsumer<Context>) {
        self.commits = Commits::new(client, &self.mail.wake);
    }

    /// One round of everything there is to do. Returns whether there was something.
    pub(super) fn turn(&mut self, client: &BaseConsumer<Context>) -> bool {
        let now = Instant::now();
        self.collect_settlements(now);
        let has_read = self.read(client, now);
        self.hear_of_commits(Duration::ZERO);
        let commits = self.membership.due(now);
        self.send_commits(client, &commits);
        has_read
    }

    /// How long the polling thread may rest.
    pub(super) fn patience(&self) -> Duration {
        let soon = if self.readings.values().any(|reading| reading.reread.is_some()) {
            REREAD_PAUSE
        } else {
            Duration::MAX
        };
        self.membership
            .until_due(Instant::now())
            .clamp(Duration::from_millis(1), Duration::from_millis(100))
            .min(soon)
    }

    fn collect_settlements(&mut self, now: Instant) {
        let generations = std::mem::take(&mut *self.mail.with_settlements.lock());
        for generation in generations {
            let Some(reading) = self.readings.get_mut(&generation) else { continue };
            reading.assignment.settlements(&mut self.scratch);
            let Settled { done, back } = &mut self.scratch;
            let wanted = self.membership.settled(generation, done, back);
            if let Some(wanted) = wanted
                && !back.is_empty()
            {
                let at = reading.reread.map_or(now + REREAD_PAUSE, |(_, at)| at);
                reading.reread = Some((wanted, at));
            }
            done.clear();
            back.clear();
        }
    }

    /// Nothing more is read of these; settlements are still taken.
    fn end(&mut self, generations: &[u64]) {
        for generation in generations {
            let Some(reading) = self.readings.get_mut(generation) else { continue };
            if reading.queue.take().is_none() {
                continue;
            }
            reading.waiting.clear();
            // Settled and never handed out: that is what at most once means.
            reading.staged.clear();
            let unread = reading.assignment.end();
            self.membership.settled(*generation, &[], &unread);
        }
    }

    /// Waits until nothing of these is being handled.
    fn drain(&mut self, generations: &[u64], patience: Duration) {
        let deadline = Instant::now() + patience;
        self.mail.draining.store(true, Ordering::SeqCst);
        loop {
            self.collect_settlements(Instant::now());
            let left = deadline.saturating_duration_since(Instant::now());
            if self.membership.is_drained(generations) || left.is_zero() {
                break;
            }
            self.mail.wake.rest(left.min(Duration::from_millis(100)));
        }
        self.mail.draining.store(false, Ordering::SeqCst);
    }

    /// From now on messages of a topic are settled before they are handed out, also those that
    /// nobody has read yet.
    pub(super) fn settle_first(&mut self, topic: &Topic) {
        self.settle_first.insert(topic.clone());
        for (generation, reading) in &mut self.readings {
            if reading.place.topic != *topic || std::mem::replace(&mut reading.settle_first, true) {
                continue;
            }
            reading.staged.extend(reading.assignment.settle_first());
            for message in &reading.staged {
                self.membership.settle_first(*generation, message.offset);
            }
        }
    }

    /// Ends the intakes of one topic.
    pub(super) fn end_topic(&mut self, topic: &Topic) {
        self.settle_first.remove(topic);
        let generations: Vec<_> = self
            .readings
            .iter()
            .filter(|(_, reading)| reading.place.topic == *topic)
            .map(|(at, _)| *at)
            .collect();
        self.end(&generations);
    }

    /// Topics whose intakes have ended while the group still counts the partitions as this
    /// member's.
    pub(super) fn ending_topics(&self) -> BTreeSet<Topic> {
        let ended = self.readings.values().filter(|reading| reading.queue.is_none());
        ended.map(|reading| reading.place.topic.clone()).collect()
    }

    /// Ends all intakes, those of later assignments too.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        let generations = self.membership.generations();
        self.end(&generations);
    }

    /// Tells each settlement to the polling thread at once, or not any more.
    pub(super) fn set_draining(&self, draining: bool) {
        self.mail.draining.store(draining, Ordering::SeqCst);
    }

    /// Messages that are being handled.
    pub(super) fn running(&self) -> u64 {
        self.membership.running(&self.membership.generations())
    }

    /// Lets everything go, without a commit. The client may be dropped after this.
    pub(super) fn clear(&mut self) {
        let generations = self.membership.generations();
        self.end(&generations);
        for (_, reading) in self.readings.drain() {
            reading.assignment.release();
        }
        self.membership.release(&generations);
        self.commits = None;
    }

    /// What an error of the client means to the bus.
    pub(super) fn explain(&self, error: &impl ToString) -> String {
        self.reasons.explain(error)
    }
}

fn partition_number(place: &Place) -> i32 {
    i32::try_from(place.partition).unwrap_or(i32::MAX)
}
