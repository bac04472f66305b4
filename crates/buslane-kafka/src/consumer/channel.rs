//! The channel between the polling thread and the rest of the bus, one for each assigned partition:
//! messages go out, settlements come back.

use super::counts::MemberCounts;
use crate::wake::Wake;
use buslane_core::{
    Delivery, Intake, Message, Outcome, Settle, Settlement, Source, shrunk_capacity,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// The largest number of messages in a channel.
const MESSAGES: usize = 1_024;
/// Bytes at which the channel is full.
const BYTES: usize = 4 << 20;

/// Settlements that the polling thread has not collected yet.
#[derive(Default)]
pub(super) struct Settlements {
    /// Offsets that are done.
    pub(super) done: Vec<u64>,
    /// Offsets of abandoned messages, which must be read again.
    pub(super) returned: Vec<u64>,
}

/// Announces settlements of all partitions to the polling thread.
#[derive(Default)]
pub(super) struct SettlementInbox {
    /// Generations of the assignments that have settlements to collect.
    pub(super) ready: Mutex<Vec<u64>>,
    pub(super) wake: Arc<Wake>,
    /// Makes each settlement wake the polling thread, which waits for the last ones.
    pub(super) draining: AtomicBool,
    pub(super) counts: Arc<MemberCounts>,
}

pub(super) struct PartitionChannel {
    pub(super) source: Arc<Source>,
    /// Identifies this assignment among all assignments of the process.
    pub(super) generation: u64,
    buffer: Mutex<Buffer>,
    settlements: Mutex<Settlements>,
    /// Whether the inbox lists this assignment.
    listed: AtomicBool,
    /// Whether the partition was released: later settlements are ignored. Changes under the lock of
    /// the settlements, so that each settlement is either collected or late.
    released: AtomicBool,
    inbox: Arc<SettlementInbox>,
}

#[derive(Default)]
struct Buffer {
    /// Makes every message settled before it enters the buffer: strict at-most-once.
    settle_first: bool,
    messages: VecDeque<Message>,
    bytes: usize,
    reader: Option<Waker>,
    /// Whether the polling thread found the buffer full, and waits for capacity.
    full: bool,
    ended: bool,
}

impl PartitionChannel {
    pub(super) fn new(
        source: Source,
        generation: u64,
        settle_first: bool,
        inbox: &Arc<SettlementInbox>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            generation,
            buffer: Mutex::new(Buffer { settle_first, ..Buffer::default() }),
            settlements: Mutex::default(),
            listed: AtomicBool::new(false),
            released: AtomicBool::new(false),
            inbox: Arc::clone(inbox),
        })
    }

    /// The number of messages that still fit. After a 0, the reader wakes the polling thread once
    /// half of the capacity is free.
    pub(super) fn room(&self) -> usize {
        let mut buffer = self.buffer.lock();
        if buffer.ended {
            return 0;
        }
        let room =
            if buffer.bytes < BYTES { MESSAGES.saturating_sub(buffer.messages.len()) } else { 0 };
        buffer.full = room == 0;
        room
    }

    pub(super) fn put(&self, messages: impl Iterator<Item = Message>) {
        let mut buffer = self.buffer.lock();
        for message in messages {
            buffer.bytes += message.bytes();
            buffer.messages.push_back(message);
        }
        let reader = if buffer.messages.is_empty() { None } else { buffer.reader.take() };
        drop(buffer);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// From now on, the channel carries messages that are already settled. Returns the unread
    /// messages, which are not.
    pub(super) fn settle_first(&self) -> VecDeque<Message> {
        let mut buffer = self.buffer.lock();
        buffer.settle_first = true;
        buffer.bytes = 0;
        std::mem::take(&mut buffer.messages)
    }

    /// Ends the intake and returns the offsets of unread messages. Settlements are still accepted.
    pub(super) fn end(&self) -> Vec<u64> {
        let mut buffer = self.buffer.lock();
        buffer.ended = true;
        buffer.bytes = 0;
        let unread = std::mem::take(&mut buffer.messages);
        let reader = buffer.reader.take();
        drop(buffer);
        if let Some(reader) = reader {
            reader.wake();
        }
        unread.iter().map(|message| message.offset).collect()
    }

    /// Ignores settlements from now on. Of the `running` messages of this assignment, those without
    /// a collected settlement become stragglers. Returns the number that is still being handled.
    pub(super) fn release(&self, running: u64) -> u64 {
        let mut settlements = self.settlements.lock();
        self.released.store(true, Ordering::Relaxed);
        let Settlements { done, returned } = std::mem::take(&mut *settlements);
        drop(settlements);
        let (done, returned) = (done.len() as u64, returned.len() as u64);
        let stragglers = &self.inbox.counts.stragglers;
        stragglers.left(running);
        stragglers.completed(done);
        stragglers.given_back(returned);
        running.saturating_sub(done + returned)
    }

    /// Swaps the settlements for the empty lists of `into`.
    pub(super) fn collect_settlements(&self, into: &mut Settlements) {
        // Reset before the swap, so that a settlement after the swap lists the assignment again.
        self.listed.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *self.settlements.lock(), into);
    }

    fn settle(&self, offset: u64, is_done: bool) {
        {
            let mut settlements = self.settlements.lock();
            if self.released.load(Ordering::Relaxed) {
                let stragglers = &self.inbox.counts.stragglers;
                return if is_done { stragglers.completed(1) } else { stragglers.given_back(1) };
            }
            if is_done { settlements.done.push(offset) } else { settlements.returned.push(offset) }
        }
        if !self.listed.load(Ordering::SeqCst) && !self.listed.swap(true, Ordering::SeqCst) {
            self.inbox.ready.lock().push(self.generation);
        }
        if !is_done || self.inbox.draining.load(Ordering::SeqCst) {
            self.inbox.wake.wake();
        }
    }
}

/// The sink of one batch of deliveries. Deliveries count references to the sink of their batch
/// instead of the channel, so that threads that settle different batches share no counter.
struct BatchSink(Arc<PartitionChannel>);

impl Settle for BatchSink {
    fn settle(&self, offset: u64, outcome: Outcome) {
        self.0.settle(offset, outcome.is_final());
    }
}

/// The intake of one partition, at the other end of its channel.
pub(super) struct KafkaIntake(pub(super) Arc<PartitionChannel>);

impl Intake for KafkaIntake {
    fn source(&self) -> &Arc<Source> {
        &self.0.source
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>> {
        let mut buffer = self.0.buffer.lock();
        if buffer.ended {
            return Poll::Ready(None);
        }
        let waiting = buffer.messages.len();
        let count = waiting.min(max);
        if count == 0 {
            buffer.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let messages: Vec<_> = buffer.messages.drain(..count).collect();
        let room = shrunk_capacity(buffer.messages.capacity(), waiting);
        buffer.messages.shrink_to(room);
        buffer.bytes -= messages.iter().map(Message::bytes).sum::<usize>();
        let is_settled = buffer.settle_first;
        let has_room = buffer.full && buffer.messages.len() <= MESSAGES / 2;
        buffer.full &= !has_room;
        drop(buffer);
        if has_room {
            self.0.inbox.wake.wake();
        }
        let sink: Arc<dyn Settle> = Arc::new(BatchSink(Arc::clone(&self.0)));
        out.extend(messages.into_iter().map(|message| Delivery {
            settlement: if is_settled {
                Settlement::ignored()
            } else {
                Settlement::new(Arc::clone(&sink), message.offset)
            },
            message,
        }));
        Poll::Ready(Some(count))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = self.0.buffer.lock();
        if buffer.ended {
            return Poll::Ready(());
        }
        buffer.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
