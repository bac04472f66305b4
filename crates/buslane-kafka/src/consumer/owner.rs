//! Everything that the polling thread owns: what it reads, what it has handed out, and what it commits.

use super::{
    assignment::{Assignment, Mail, Settled},
    context::Context,
    events::Events,
    intake::KafkaIntake,
    membership::{Arrival, Commit, CommitRules, Membership, Place},
};
use crate::{
    native::{CommitAnswer, Commits, Fetched, PartitionQueue},
    reasons::Reasons,
};
use buslane_core::{BrokerEvent, Source, Topic};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How long an assignment waits for what the group has committed.
const COMMITTED_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two attempts to read again what was given back.
const REREAD_PAUSE: Duration = Duration::from_millis(50);
/// How long an answer to a commit is awaited when partitions are let go.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// One partition that is being read.
struct Reading {
    assignment: Arc<Assignment>,
    place: Place,
    /// `None` once nothing more is read.
    queue: Option<PartitionQueue>,
    /// Read, and waiting for older ones to be settled.
    waiting: VecDeque<Fetched>,
    /// Settled already, and handed out once that is committed: strict at-most-once.
    staged: Vec<Fetched>,
    settle_first: bool,
    /// Where to read again, and not before when.
    reread: Option<(u64, Instant)>,
}

pub(crate) struct Owner {
    membership: Membership,
    readings: HashMap<u64, Reading>,
    /// Topics whose messages are settled before they are handed out.
    pub(super) settle_first: HashSet<Topic>,
    commits: Option<Commits>,
    commit_sent: Option<Instant>,
    mail: Arc<Mail>,
    events: Arc<Events>,
    reasons: Arc<Reasons>,
    client: Weak<BaseConsumer<Context>>,
    drain_deadline: Duration,
    /// Nothing is read any more.
    stopped: bool,
    scratch: Settled,
    fetched: Vec<Fetched>,
}

impl Owner {
    pub(super) fn new(
        rules: CommitRules,
        drain_deadline: Duration,
        mail: &Arc<Mail>,
        events: &Arc<Events>,
        reasons: &Arc<Reasons>,
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
            client: Weak::new(),
            drain_deadline,
            stopped: false,
            scratch: Settled::default(),
            fetched: Vec::new(),
        }
    }

    /// Makes it the owner of `client`. Until [`Owner::clear`], it must not outlive that.
    pub(super) fn own(&mut self, client: &Arc<BaseConsumer<Context>>) {
        self.client = Arc::downgrade(client);
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
        let soon =
            if self.readings.values().any(|reading| reading.reread.is_some()) { REREAD_PAUSE } else { Duration::MAX };
        self.membership.until_due(Instant::now()).clamp(Duration::from_millis(1), Duration::from_millis(100)).min(soon)
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

    fn read(&mut self, client: &BaseConsumer<Context>, now: Instant) -> bool {
        let mut has_read = false;
        let (membership, fetched) = (&mut self.membership, &mut self.fetched);
        for (generation, reading) in &mut self.readings {
            let Some(queue) = &reading.queue else { continue };
            if let Some((from, at)) = reading.reread
                && now >= at
            {
                reading.reread = None;
                read_again(client, &reading.place, from);
            }
            if !reading.staged.is_empty() {
                continue;
            }
            while let Some(first) = reading.waiting.front() {
                match membership.arrived(*generation, first.offset()) {
                    Arrival::Wait => break,
                    Arrival::Skip => drop(reading.waiting.pop_front()),
                    Arrival::Run => reading.assignment.put(reading.waiting.pop_front().into_iter()),
                }
            }
            if !reading.waiting.is_empty() {
                continue;
            }
            let room = reading.assignment.room().min(membership.room(*generation));
            if room == 0 || queue.read(room, fetched) == 0 {
                continue;
            }
            has_read = true;
            let waiting = &mut reading.waiting;
            let arrived = fetched.drain(..).filter_map(|message| {
                if let Some(error) = message.error() {
                    report(&reading.place, error);
                    return None;
                }
                if !waiting.is_empty() {
                    waiting.push_back(message);
                    return None;
                }
                match membership.arrived(*generation, message.offset()) {
                    Arrival::Run => Some(message),
                    Arrival::Skip => None,
                    Arrival::Wait => {
                        waiting.push_back(message);
                        None
                    }
                }
            });
            if reading.settle_first {
                reading.staged.extend(arrived);
            } else {
                reading.assignment.put(arrived);
            }
            for message in &reading.staged {
                membership.settle_first(*generation, message.offset());
            }
        }
        if self.readings.values().any(|reading| !reading.staged.is_empty()) && !self.membership.is_committing() {
            let staged: Vec<_> =
                self.readings.iter().filter(|(_, reading)| !reading.staged.is_empty()).map(|(at, _)| *at).collect();
            let commits = self.membership.offers(&staged);
            self.send_commits(client, &commits);
        }
        has_read
    }

    fn send_commits(&mut self, client: &BaseConsumer<Context>, commits: &[Commit]) {
        if commits.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        let mut left_out = 0;
        for Commit { place, offer, .. } in commits {
            let mut element = list.add_partition(&place.topic, partition_number(place));
            element.set_metadata(&offer.metadata);
            if let Err(error) = element.set_offset(Offset::Offset(i64::try_from(offer.offset).unwrap_or(i64::MAX))) {
                warn!(%error, offset = offer.offset, "offset cannot be committed");
            }
            left_out += offer.left_out;
        }
        if left_out > 0 {
            info!(messages = left_out, "settled messages do not fit in the commit, a restart may run them again");
        }
        let sent = match &self.commits {
            Some(queue) => queue.send(client, &list),
            None => Err(RDKafkaErrorCode::InvalidArgument),
        };
        match sent {
            Ok(()) => self.commit_sent = Some(Instant::now()),
            Err(error) => {
                warn!(%error, "commit was not sent");
                self.membership.answered(|_| true);
            }
        }
    }

    /// Takes the answer to the commit that is on its way, if it comes within `patience`.
    fn hear_of_commits(&mut self, patience: Duration) {
        if !self.membership.is_committing() {
            return;
        }
        let Some(CommitAnswer { error, partitions }) = self.commits.as_ref().and_then(|queue| queue.answer(patience))
        else {
            return;
        };
        self.commit_sent = None;
        let refused: HashMap<(String, i32), RDKafkaErrorCode> =
            partitions.into_iter().filter_map(|(topic, partition, error)| Some(((topic, partition), error?))).collect();
        let too_large = refused.values().any(|error| *error == RDKafkaErrorCode::OffsetMetadataTooLarge);
        if too_large {
            let limit = self.membership.halve_metadata();
            warn!(limit, "the broker takes less metadata than it was sent");
        }
        if let Some(error) = error.or_else(|| refused.values().next().copied()) {
            warn!(%error, "commit refused, it is tried again");
        }
        let everything = error.is_some() && refused.is_empty();
        self.membership
            .answered(|place| everything || refused.contains_key(&(place.topic.to_string(), partition_number(place))));
        for (generation, reading) in &mut self.readings {
            let last = reading.staged.last().map(Fetched::offset);
            if let (Some(last), Some(low)) = (last, self.membership.committed(*generation))
                && low > last
            {
                reading.assignment.put(reading.staged.drain(..));
            }
        }
    }

    /// Commits what stands, and waits for the answer.
    pub(super) fn commit_now(&mut self, client: &BaseConsumer<Context>, generations: &[u64], patience: Duration) {
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        // The answer to one that is on its way comes first.
        while self.membership.is_committing() && !left().is_zero() {
            self.hear_of_commits(left());
        }
        if self.membership.is_committing() {
            self.membership.answered(|_| true);
        }
        let commits = self.membership.offers(generations);
        self.send_commits(client, &commits);
        while self.membership.is_committing() && !left().is_zero() {
            self.hear_of_commits(left());
        }
    }

    /// Partitions are given to this member. Sets where each is to be read from.
    pub(super) fn assigned(&mut self, client: &BaseConsumer<Context>, list: &mut TopicPartitionList) {
        if list.count() == 0 {
            return;
        }
        let committed = client.committed_offsets(list.clone(), COMMITTED_PATIENCE);
        if let Err(error) = &committed {
            warn!(%error, "committed offsets could not be read; what is done above a gap may run again");
        }
        let places: Vec<_> = list.elements().iter().map(|at| (at.topic().to_owned(), at.partition())).collect();
        for (topic, partition) in places {
            let Some(place) = place(&topic, partition) else { continue };
            let known = committed.as_ref().ok().and_then(|list| list.find_partition(&topic, partition));
            let known = known.as_ref().and_then(|element| match element.offset() {
                Offset::Offset(offset) => Some((u64::try_from(offset).ok()?, element.metadata())),
                _ => None,
            });
            let assigned = self.membership.assign(place.clone(), known);
            if let Some(error) = assigned.unreadable {
                warn!(topic, partition, %error, "commit metadata not understood and ignored");
            }
            if let Some(from) = assigned.from
                && let Err(error) = list.set_partition_offset(
                    &topic,
                    partition,
                    Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX)),
                )
            {
                warn!(topic, partition, %error, "start offset not set");
            }
            let settle_first = self.settle_first.contains(&place.topic);
            let source = Source::new(place.topic.clone(), place.partition);
            let assignment = Assignment::new(source, assigned.generation, settle_first, &self.mail, &self.client);
            let queue = PartitionQueue::new(client, &topic, partition, &self.mail.wake);
            if self.stopped {
                assignment.end();
            }
            self.readings.insert(
                assigned.generation,
                Reading {
                    assignment: Arc::clone(&assignment),
                    place,
                    queue: queue.filter(|_| !self.stopped),
                    waiting: VecDeque::new(),
                    staged: Vec::new(),
                    settle_first,
                    reread: None,
                },
            );
            self.events.push(BrokerEvent::Assigned(Box::new(KafkaIntake::new(assignment))));
        }
    }

    /// Partitions are taken from this member: what has started is awaited, what is done is committed.
    pub(super) fn revoked(&mut self, client: &BaseConsumer<Context>, list: &TopicPartitionList, is_lost: bool) {
        let generations: Vec<_> = list
            .elements()
            .iter()
            .filter_map(|at| self.membership.generation(&place(at.topic(), at.partition())?))
            .collect();
        self.let_go(client, &generations, is_lost);
    }

    fn let_go(&mut self, client: &BaseConsumer<Context>, generations: &[u64], is_lost: bool) {
        if generations.is_empty() {
            return;
        }
        self.membership.revoking(Instant::now());
        self.end(generations);
        if !is_lost {
            self.drain(generations, self.drain_deadline);
            self.commit_now(client, generations, COMMIT_PATIENCE);
        }
        for generation in generations {
            if let Some(reading) = self.readings.remove(generation) {
                reading.assignment.release();
            }
        }
        let stragglers = self.membership.release(generations);
        if stragglers > 0 {
            warn!(stragglers, lost = is_lost, "partitions let go while messages of them are being handled");
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

    /// Ends the intakes of one topic.
    pub(super) fn end_topic(&mut self, topic: &Topic) {
        let generations: Vec<_> =
            self.readings.iter().filter(|(_, reading)| reading.place.topic == *topic).map(|(at, _)| *at).collect();
        self.end(&generations);
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

    /// Commits everything that is settled, and waits for the answer.
    pub(super) fn commit_all(&mut self, client: &BaseConsumer<Context>, patience: Duration) {
        self.collect_settlements(Instant::now());
        let generations = self.membership.generations();
        self.commit_now(client, &generations, patience);
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

fn read_again(client: &BaseConsumer<Context>, place: &Place, from: u64) {
    let from = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
    if let Err(error) = client.seek(&place.topic, partition_number(place), from, Duration::ZERO) {
        warn!(topic = %place.topic, partition = place.partition, %error, "messages given back cannot be read again yet");
    }
}

fn report(place: &Place, error: RDKafkaErrorCode) {
    if error != RDKafkaErrorCode::PartitionEOF {
        warn!(topic = %place.topic, partition = place.partition, %error, "reading failed");
    }
}

fn place(topic: &str, partition: i32) -> Option<Place> {
    Some(Place { topic: Topic::new(topic).ok()?, partition: u32::try_from(partition).ok()? })
}

fn partition_number(place: &Place) -> i32 {
    i32::try_from(place.partition).unwrap_or(i32::MAX)
}
