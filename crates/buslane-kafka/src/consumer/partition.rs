//! The polling thread's side of one assigned partition. It reads the queue, copies the messages,
//! decides about each one, and computes the lag of the group.

use super::{
    channel::PartitionChannel,
    membership::{Arrival, Membership, Position, TopicPartition},
    timestamp_index::TimestampIndex,
};
use crate::native::{FetchedMessage, PartitionQueue, position, watermarks};
use buslane_core::{Lag, Message, Record, Source, shrunk_capacity};
use bytes::{BufMut, Bytes, BytesMut};
use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::warn;

/// Time between two attempts to read abandoned messages again.
pub(super) const REREAD_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct PartitionReader {
    pub(super) channel: Arc<PartitionChannel>,
    pub(super) partition: TopicPartition,
    /// `None` once reading has ended.
    queue: Option<PartitionQueue>,
    /// Messages that wait until older ones are settled.
    waiting: VecDeque<Message>,
    /// Settled messages that are handed out once their commit is acknowledged: strict at-most-once.
    staged: Vec<Message>,
    settle_first: bool,
    timestamps: TimestampIndex,
    /// The offset to read from again, and the earliest time for that.
    reread: Option<(u64, Instant)>,
    /// The offset of an error that no message has followed yet.
    error_at: Option<u64>,
}

impl PartitionReader {
    pub(super) fn new(
        channel: Arc<PartitionChannel>,
        partition: TopicPartition,
        queue: Option<PartitionQueue>,
        settle_first: bool,
    ) -> Self {
        Self {
            channel,
            partition,
            queue,
            waiting: VecDeque::new(),
            staged: Vec::new(),
            settle_first,
            timestamps: TimestampIndex::default(),
            reread: None,
            error_at: None,
        }
    }

    /// Reads again from `offset` after a pause. A pause that has begun keeps its end.
    pub(super) fn reread_from(&mut self, offset: u64, now: Instant) {
        let at = self.reread.map_or(now + REREAD_PAUSE, |(_, at)| at);
        self.reread = Some((offset, at));
    }

    pub(super) const fn is_rereading(&self) -> bool {
        self.reread.is_some()
    }

    pub(super) const fn is_ended(&self) -> bool {
        self.queue.is_none()
    }

    pub(super) const fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Seeks to the offset of `reread_from` if the pause is over.
    pub(super) fn seek_if_due(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        now: Instant,
    ) {
        if self.is_ended() {
            return;
        }
        let Some((from, _)) = self.reread.take_if(|(_, at)| now >= *at) else { return };
        let TopicPartition { topic, partition } = &self.partition;
        let (from, number) = (librdkafka_offset(from), self.partition.number());
        if let Err(error) = client.seek(topic, number, from, Duration::ZERO) {
            warn!(%topic, partition, %error, "messages given back cannot be read again yet");
        }
    }

    /// Reads as many messages as fit, and hands them out. Returns whether a message was read.
    pub(super) fn read(
        &mut self,
        membership: &mut Membership,
        copier: &mut MessageCopier,
        fetched: &mut Vec<FetchedMessage>,
    ) -> bool {
        let Some(queue) = &self.queue else { return false };
        if self.has_staged() {
            return false;
        }
        let reads = self.waiting.is_empty();
        if reads {
            let room = self.channel.room().min(membership.room(self.channel.generation));
            if room == 0 || queue.read(room, fetched) == 0 {
                return false;
            }
            for message in fetched.drain(..) {
                if let Some(error) = message.error() {
                    let TopicPartition { topic, partition } = &self.partition;
                    warn!(%topic, partition, %error, "reading failed");
                    self.error_at = Some(message.offset());
                    continue;
                }
                self.error_at = None;
                self.waiting.push_back(copier.message(&self.channel.source, &message));
            }
            let room = shrunk_capacity(self.waiting.capacity(), self.waiting.len());
            self.waiting.shrink_to(room);
            if let Some(first) = self.waiting.front() {
                self.timestamps.add(first.offset, first.timestamp_ms);
            }
        }
        self.hand_out(membership);
        reads
    }

    /// Hands out the waiting messages that fit the tracker.
    fn hand_out(&mut self, membership: &mut Membership) {
        let Self { waiting, staged, channel, settle_first, .. } = self;
        let runs = std::iter::from_fn(|| {
            loop {
                match membership.arrived(channel.generation, waiting.front()?.offset) {
                    Arrival::Wait => return None,
                    Arrival::Skip => drop(waiting.pop_front()),
                    Arrival::Run => return waiting.pop_front(),
                }
            }
        });
        if !*settle_first {
            channel.put(runs);
            return;
        }
        staged.extend(runs);
        for message in staged {
            membership.settle_first(channel.generation, message.offset);
        }
    }

    /// From now on, settles messages before they are handed out, including unread ones.
    pub(super) fn settle_first(&mut self, membership: &mut Membership) {
        if std::mem::replace(&mut self.settle_first, true) {
            return;
        }
        self.staged.extend(self.channel.settle_first());
        for message in &self.staged {
            membership.settle_first(self.channel.generation, message.offset);
        }
    }

    /// Hands out the staged messages once all of them are committed.
    pub(super) fn hand_out_committed(&mut self, committed: Option<u64>) {
        if let (Some(last), Some(committed)) = (self.staged.last(), committed)
            && committed > last.offset
        {
            self.channel.put(self.staged.drain(..));
        }
    }

    /// Ends reading and abandons unread messages. Settlements are still accepted.
    pub(super) fn end(&mut self, membership: &mut Membership) {
        if self.queue.take().is_none() {
            return;
        }
        self.waiting.clear();
        // These messages are settled and never handed out, which at-most-once permits.
        self.staged.clear();
        membership.settled(self.channel.generation, &[], &self.channel.end());
    }

    /// The group's position; `None` while neither the group nor the client has one.
    pub(super) fn position(
        &self,
        client: &BaseConsumer<impl ConsumerContext>,
        membership: &Membership,
    ) -> Option<Position> {
        let TopicPartition { topic, .. } = &self.partition;
        self.position_at(position(client.client(), topic, self.partition.number()), membership)
    }

    /// The group's position when the client has read up to `read`. Markers of transactions are read
    /// but never arrive, so only tracked and waiting messages are open below `read`.
    fn position_at(&self, read: Option<u64>, membership: &Membership) -> Option<Position> {
        let mut position = membership.position(self.channel.generation)?;
        // librdkafka takes an error for a message when it reads a batch, since 2.2: the message at
        // its offset was not read.
        let read = read.map(|read| match self.error_at {
            Some(error) if read == error + 1 => error,
            _ => read,
        });
        if let Some(read) = read.filter(|_| self.waiting.is_empty()) {
            position.next = position.next.max(read);
            if position.open == 0 {
                position.low = position.next;
            }
        }
        Some(position)
    }

    /// How far the group is behind, from the client's state without a request; `None` before the
    /// first fetch. `now` is the time since 1970.
    pub(super) fn lag(
        &mut self,
        client: &BaseConsumer<impl ConsumerContext>,
        membership: &Membership,
        begins_at_end: bool,
        now: Duration,
    ) -> Option<Lag> {
        let TopicPartition { topic, partition } = &self.partition;
        let (start, end) = watermarks(client.client(), topic, self.partition.number())?;
        // Without a commit, the offset reset decides where reading begins.
        let begin = if begins_at_end { end } else { start };
        let unknown = Position { low: begin, open: 0, next: begin };
        let Position { low, open, next } = self.position(client, membership).unwrap_or(unknown);
        let low = low.max(start);
        let messages = end.saturating_sub(low);
        let published = if messages == 0 { None } else { self.timestamps.at(low) };
        let published = published.and_then(|at| u64::try_from(at).ok()).map(Duration::from_millis);
        Some(Lag {
            topic: topic.clone(),
            partition: *partition,
            messages,
            open: messages.min(open + end.saturating_sub(next.max(start))),
            // The end may be a marker of a transaction, which is never handed out.
            unread: None,
            age: published.map(|published| now.saturating_sub(published)),
        })
    }
}

/// Bytes of a chunk that small messages are cut from. A message that waits for long keeps its whole
/// chunk alive, so a chunk has the size of a page and not of a batch.
const CHUNK_BYTES: usize = 4_096;

/// Copies messages out of librdkafka's memory, where each message keeps the broker's whole answer
/// alive.
///
/// The polling thread copies each message directly after reading it, while the message is still in
/// the processor's cache. A second read on another core would cost more than the copy.
#[derive(Default)]
pub(super) struct MessageCopier {
    chunk: BytesMut,
}

impl MessageCopier {
    pub(super) fn message(&mut self, source: &Arc<Source>, fetched: &FetchedMessage) -> Message {
        let (key, payload) = (fetched.key(), fetched.payload());
        let size = key.map_or(0, <[u8]>::len) + payload.len();
        if self.chunk.capacity() < size {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES.max(size));
        }
        let key = key.map(|key| self.copy(key));
        let payload = self.copy(payload);
        let (headers, chunk) = fetched.headers(std::mem::take(&mut self.chunk));
        self.chunk = chunk;
        let mut record = Record::new(payload).with_headers(headers);
        record.key = key;
        record.is_null = fetched.is_null();
        record.into_message(Arc::clone(source), fetched.offset(), fetched.timestamp_ms())
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        self.chunk.put_slice(bytes);
        self.chunk.split().freeze()
    }
}

/// An offset as librdkafka takes it.
pub(super) fn librdkafka_offset(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::PartitionReader;
    use crate::consumer::{
        channel::{PartitionChannel, SettlementInbox},
        membership::{Arrival, CommitRules, Membership, Position, TopicPartition},
    };
    use buslane_core::{Message, Source};
    use std::{sync::Arc, time::Duration};

    /// A reader of an assignment whose group has committed `committed`.
    fn reader(committed: Option<u64>) -> (PartitionReader, Membership) {
        let rules = CommitRules { interval: Duration::ZERO, every: 1, metadata_limit: 0 };
        let mut membership = Membership::new(rules);
        let partition = TopicPartition::new("orders", 0).expect("a good name");
        let assigned = membership.assign(partition.clone(), committed.map(|offset| (offset, "")));
        let source = Source::new(partition.topic.clone(), 0);
        let inbox = Arc::new(SettlementInbox::default());
        let channel = PartitionChannel::new(source, assigned.generation, false, &inbox);
        (PartitionReader::new(channel, partition, None, false), membership)
    }

    fn position(low: u64, open: u64, next: u64) -> Option<Position> {
        Some(Position { low, open, next })
    }

    #[test]
    fn k8_a_marker_at_the_end_is_not_open() {
        let (reader, mut membership) = reader(Some(32));
        assert_eq!(reader.position_at(None, &membership), position(32, 0, 32));
        assert_eq!(reader.position_at(Some(33), &membership), position(33, 0, 33));
        assert_eq!(membership.arrived(1, 33), Arrival::Run);
        assert_eq!(reader.position_at(Some(35), &membership), position(33, 1, 35));
        membership.settled(1, &[33], &[]);
        assert_eq!(reader.position_at(Some(35), &membership), position(35, 0, 35));
    }

    #[test]
    fn k8_an_error_is_no_message_that_was_read() {
        let (mut reader, membership) = reader(Some(32));
        reader.error_at = Some(32);
        assert_eq!(reader.position_at(Some(33), &membership), position(32, 0, 32));
        reader.error_at = Some(34);
        assert_eq!(reader.position_at(Some(35), &membership), position(34, 0, 34));
        assert_eq!(reader.position_at(Some(36), &membership), position(36, 0, 36));
    }

    #[test]
    fn k8_a_waiting_message_is_open_although_it_was_read() {
        let (mut reader, membership) = reader(Some(32));
        let topic = reader.partition.topic.clone();
        let mut message = Message::new(topic, "");
        message.offset = 32;
        reader.waiting.push_back(message);
        assert_eq!(reader.position_at(Some(34), &membership), position(32, 0, 32));
    }
}
