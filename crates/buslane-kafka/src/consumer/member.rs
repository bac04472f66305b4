//! The group member: the partitions that it reads, the settlements of their messages, and its
//! commits. The polling thread owns it.
//!
//! The member answers assignments and revocations within the client's callback, because a later
//! answer could meet a newer assignment.

mod commits;

use super::{
    channel::{KafkaIntake, PartitionChannel, SettlementInbox, Settlements},
    membership::{CommitRules, Membership, Position, TopicPartition},
    partition::{MessageCopier, PartitionReader, REREAD_PAUSE, librdkafka_offset},
};
use crate::{
    config::{ConsumerConfig, OffsetReset},
    error_log::ErrorLog,
    native::{Commits, FetchedMessage, PartitionQueue},
};
use buslane_core::{BrokerEvent, EventQueue, Lag, Source, SymptomKind, Symptoms, Topic};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tracing::warn;

/// How long an assignment waits for the committed offsets of the group.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a revocation waits for the answer to its commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct GroupMember {
    membership: Membership,
    readers: HashMap<u64, PartitionReader>,
    /// Topics whose messages are settled before they are handed out.
    settle_first: HashSet<Topic>,
    commits: Option<Commits>,
    commit_sent: Option<Instant>,
    inbox: Arc<SettlementInbox>,
    events: Arc<EventQueue>,
    errors: Arc<ErrorLog>,
    symptoms: Arc<Symptoms>,
    drain_deadline: Duration,
    /// Whether a group without commits begins after the newest message.
    begins_at_end: bool,
    /// Whether reading has ended for good.
    stopped: bool,
    /// Reused between rounds.
    settlements: Settlements,
    /// Reused between rounds.
    fetched: Vec<FetchedMessage>,
    copier: MessageCopier,
}

impl GroupMember {
    pub(super) fn new(
        config: &ConsumerConfig,
        inbox: &Arc<SettlementInbox>,
        events: &Arc<EventQueue>,
        errors: &Arc<ErrorLog>,
        symptoms: &Arc<Symptoms>,
    ) -> Self {
        let rules = CommitRules {
            interval: config.commit_interval,
            every: config.commit_every,
            metadata_limit: config.metadata_limit,
        };
        Self {
            membership: Membership::new(rules),
            readers: HashMap::new(),
            settle_first: HashSet::new(),
            commits: None,
            commit_sent: None,
            inbox: Arc::clone(inbox),
            events: Arc::clone(events),
            errors: Arc::clone(errors),
            symptoms: Arc::clone(symptoms),
            drain_deadline: config.drain_deadline,
            begins_at_end: config.offset_reset == OffsetReset::Latest,
            stopped: false,
            settlements: Settlements::default(),
            fetched: Vec::new(),
            copier: MessageCopier::default(),
        }
    }

    /// Prepares commits through `client`. [`GroupMember::clear`] must be called before that is
    /// dropped.
    pub(super) fn open_commits(&mut self, client: &BaseConsumer<impl ConsumerContext>) {
        self.commits = Commits::new(client, &self.inbox.wake);
    }

    /// Does one round of work. Returns whether the round has read a message.
    pub(super) fn turn(&mut self, client: &BaseConsumer<impl ConsumerContext>) -> bool {
        let now = Instant::now();
        self.collect_settlements(now);
        let has_read = self.read(client, now);
        self.receive_commit_answer(Duration::ZERO);
        let commits = self.membership.due(now);
        self.send_commits(client, &commits);
        has_read
    }

    fn read(&mut self, client: &BaseConsumer<impl ConsumerContext>, now: Instant) -> bool {
        let mut has_read = false;
        for reader in self.readers.values_mut() {
            reader.seek_if_due(client, now);
            has_read |= reader.read(&mut self.membership, &mut self.copier, &mut self.fetched);
        }
        let staged = self.readers.iter().filter(|(_, reader)| reader.has_staged());
        let staged: Vec<_> = staged.map(|(generation, _)| *generation).collect();
        if !staged.is_empty() && !self.membership.is_committing() {
            let commits = self.membership.offers(&staged);
            self.send_commits(client, &commits);
        }
        has_read
    }

    /// The longest time that the polling thread may park.
    pub(super) fn park_timeout(&self) -> Duration {
        let is_rereading = self.readers.values().any(PartitionReader::is_rereading);
        let reread = if is_rereading { REREAD_PAUSE } else { Duration::MAX };
        self.membership
            .until_due(Instant::now())
            .clamp(Duration::from_millis(1), Duration::from_millis(100))
            .min(reread)
    }

    fn collect_settlements(&mut self, now: Instant) {
        let generations = std::mem::take(&mut *self.inbox.ready.lock());
        for generation in generations {
            let Some(reader) = self.readers.get_mut(&generation) else { continue };
            reader.channel.collect_settlements(&mut self.settlements);
            let Settlements { done, returned } = &mut self.settlements;
            let wanted = self.membership.settled(generation, done, returned);
            if let Some(wanted) = wanted
                && !returned.is_empty()
            {
                reader.reread_from(wanted, now);
            }
            done.clear();
            returned.clear();
        }
    }

    /// Answers an assignment: begins to read its partitions, and sets their offsets in `list`.
    pub(super) fn assigned(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        list: &mut TopicPartitionList,
    ) {
        if list.count() == 0 {
            return;
        }
        let committed = client.committed_offsets(list.clone(), COMMITTED_TIMEOUT);
        if let Err(error) = &committed {
            warn!(%error, "committed offsets cannot be read: finished messages may run again");
        }
        let partitions: Vec<_> =
            list.elements().iter().map(|at| (at.topic().to_owned(), at.partition())).collect();
        for (topic, number) in partitions {
            let Some(partition) = TopicPartition::new(&topic, number) else { continue };
            let known =
                committed.as_ref().ok().and_then(|list| list.find_partition(&topic, number));
            let known = known.as_ref().and_then(|element| match element.offset() {
                Offset::Offset(offset) => Some((u64::try_from(offset).ok()?, element.metadata())),
                _ => None,
            });
            let assigned = self.membership.assign(partition.clone(), known);
            if let Some(error) = assigned.unreadable {
                warn!(topic, partition = number, %error, "commit metadata not understood: ignored");
            }
            if let Some(from) = assigned.from
                && let Err(error) =
                    list.set_partition_offset(&topic, number, librdkafka_offset(from))
            {
                warn!(topic, partition = number, %error, "start offset not set");
            }
            self.begin_reading(client, partition, assigned.generation);
        }
    }

    fn begin_reading(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        partition: TopicPartition,
        generation: u64,
    ) {
        let TopicPartition { topic, partition: number } = &partition;
        let settle_first = self.settle_first.contains(topic);
        let source = Source::new(topic.clone(), *number);
        let channel = PartitionChannel::new(source, generation, settle_first, &self.inbox);
        let queue = PartitionQueue::new(client, topic, partition.number(), &self.inbox.wake);
        if self.stopped {
            channel.end();
        }
        let queue = queue.filter(|_| !self.stopped);
        let reader = PartitionReader::new(Arc::clone(&channel), partition, queue, settle_first);
        self.readers.insert(generation, reader);
        self.events.push(BrokerEvent::Assigned(Box::new(KafkaIntake(channel))));
    }

    /// Answers a revocation: waits for messages in handlers, commits, and releases the partitions.
    /// A lost assignment may belong to other members already, so it is released at once.
    pub(super) fn revoked(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        list: &TopicPartitionList,
        is_lost: bool,
    ) {
        let generation =
            |topic: &str, number| self.membership.generation(&TopicPartition::new(topic, number)?);
        let elements = list.elements();
        let generations: Vec<_> =
            elements.iter().filter_map(|at| generation(at.topic(), at.partition())).collect();
        if generations.is_empty() {
            return;
        }
        self.end(&generations);
        if !is_lost {
            self.drain(&generations, self.drain_deadline);
            self.commit_now(client, &generations, COMMIT_TIMEOUT);
        }
        let stragglers = self.release(&generations);
        if stragglers > 0 {
            warn!(
                stragglers,
                lost = is_lost,
                "partitions let go while messages of them are being handled"
            );
        }
    }

    /// Releases these assignments. Returns the number of their messages that are still being
    /// handled.
    fn release(&mut self, generations: &[u64]) -> u64 {
        let mut stragglers = 0;
        for generation in generations {
            let running = self.membership.release(*generation);
            if let Some(PartitionReader { channel, partition, .. }) =
                self.readers.remove(generation)
            {
                stragglers += channel.release(running);
                let place = Some((partition.topic, partition.partition));
                self.symptoms.clear(SymptomKind::SettlementRefused, place);
            }
        }
        stragglers
    }

    /// Ends reading of these assignments; settlements are still accepted.
    fn end(&mut self, generations: &[u64]) {
        for generation in generations {
            if let Some(reader) = self.readers.get_mut(generation) {
                reader.end(&mut self.membership);
            }
        }
    }

    /// Waits until no handler holds a message of these assignments, at most for `timeout`.
    fn drain(&mut self, generations: &[u64], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.set_draining(true);
        loop {
            self.collect_settlements(Instant::now());
            let left = deadline.saturating_duration_since(Instant::now());
            if self.membership.is_drained(generations) || left.is_zero() {
                break;
            }
            self.inbox.wake.park(left.min(Duration::from_millis(100)));
        }
        self.set_draining(false);
    }

    /// Whether each settlement wakes the polling thread.
    pub(super) fn set_draining(&self, draining: bool) {
        self.inbox.draining.store(draining, Ordering::SeqCst);
    }

    /// From now on, settles messages of `topic` before they are handed out, including unread ones.
    pub(super) fn settle_first(&mut self, topic: &Topic) {
        self.settle_first.insert(topic.clone());
        for reader in self.readers.values_mut() {
            if reader.partition.topic == *topic {
                reader.settle_first(&mut self.membership);
            }
        }
    }

    /// Ends the intakes of one topic.
    pub(super) fn end_topic(&mut self, topic: &Topic) {
        self.settle_first.remove(topic);
        for reader in self.readers.values_mut() {
            if reader.partition.topic == *topic {
                reader.end(&mut self.membership);
            }
        }
    }

    /// Topics whose intakes have ended while the group still assigns partitions of them to this
    /// member.
    pub(super) fn ending_topics(&self) -> BTreeSet<Topic> {
        let ended = self.readers.values().filter(|reader| reader.is_ended());
        ended.map(|reader| reader.partition.topic.clone()).collect()
    }

    /// Ends all intakes, including those of later assignments.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        let generations = self.membership.generations();
        self.end(&generations);
    }

    /// The number of messages in handlers.
    pub(super) fn running(&self) -> u64 {
        self.membership.running(&self.membership.generations())
    }

    /// Releases all assignments without a commit. The client may be dropped afterwards.
    pub(super) fn clear(&mut self) {
        let generations = self.membership.generations();
        self.end(&generations);
        self.release(&generations);
        self.commits = None;
    }

    /// The group's positions in the partitions of this member, including all settlements so far.
    pub(super) fn positions(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
    ) -> Vec<(TopicPartition, Position)> {
        self.collect_settlements(Instant::now());
        let position = |reader: &PartitionReader| {
            Some((reader.partition.clone(), reader.position(client, &self.membership)?))
        };
        self.readers.values().filter_map(position).collect()
    }

    /// How far the group is behind in the partitions of this member. Sends no request.
    pub(super) fn lag(&mut self, client: &BaseConsumer<impl ConsumerContext>) -> Vec<Lag> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (membership, begins_at_end) = (&self.membership, self.begins_at_end);
        let lag = |reader: &mut PartitionReader| reader.lag(client, membership, begins_at_end, now);
        self.readers.values_mut().filter_map(lag).collect()
    }

    /// An error of the client, with the reason that the client has logged.
    pub(super) fn explain(&self, error: &impl ToString) -> String {
        self.errors.explain(error)
    }
}
