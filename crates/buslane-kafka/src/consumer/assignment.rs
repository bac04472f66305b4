//! One partition in this member's hands, from its assignment to its end: what the polling thread
//! and everybody else share of it.

use crate::wake::Wake;
use buslane_core::{Message, Outcome, Settle, Source, room_after};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context as Task, Poll, Waker},
};

/// Messages that lie between the polling thread and the reader of a partition.
pub(super) const READ_AHEAD: usize = 1_024;
/// Bytes that do.
const READ_AHEAD_BYTES: usize = 4 << 20;

/// Settlements that the polling thread has not looked at.
#[derive(Default)]
pub(super) struct Settled {
    /// Offsets that are over.
    pub(super) done: Vec<u64>,
    /// Offsets that were given back.
    pub(super) back: Vec<u64>,
}

/// Assignments with settlements to look at, and how many settlements came after the end of theirs.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) with_settlements: Mutex<Vec<u64>>,
    pub(super) late: AtomicU64,
    pub(super) wake: Arc<Wake>,
    /// The polling thread wants to hear of each settlement at once: something is being drained.
    pub(super) draining: AtomicBool,
}

pub(crate) struct Assignment {
    pub(super) source: Arc<Source>,
    /// Names this assignment among all that the process has had.
    pub(super) generation: u64,
    inbox: Mutex<Inbox>,
    settled: Mutex<Settled>,
    /// Stands in the mail's list.
    listed: AtomicBool,
    /// Let go: settlements say nothing any more.
    released: AtomicBool,
    mail: Arc<Mail>,
}

#[derive(Default)]
struct Inbox {
    /// What is put in is settled already: strict at-most-once.
    settle_first: bool,
    messages: VecDeque<Message>,
    bytes: usize,
    reader: Option<Waker>,
    /// The polling thread left messages lying because this was full.
    full: bool,
    ended: bool,
}

/// What a reader found.
pub(super) enum Read {
    Some {
        messages: Vec<Message>,
        /// They are settled already.
        settled: bool,
    },
    Ended,
    Nothing,
}

impl Assignment {
    pub(super) fn new(
        source: Source,
        generation: u64,
        settle_first: bool,
        mail: &Arc<Mail>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            generation,
            inbox: Mutex::new(Inbox { settle_first, ..Inbox::default() }),
            settled: Mutex::default(),
            listed: AtomicBool::new(false),
            released: AtomicBool::new(false),
            mail: Arc::clone(mail),
        })
    }

    /// How many more messages may be put in. When none, the reader wakes the polling thread once
    /// there is room.
    pub(super) fn room(&self) -> usize {
        let mut inbox = self.inbox.lock();
        if inbox.ended {
            return 0;
        }
        let room = if inbox.bytes < READ_AHEAD_BYTES {
            READ_AHEAD.saturating_sub(inbox.messages.len())
        } else {
            0
        };
        inbox.full = room == 0;
        room
    }

    pub(super) fn put(&self, messages: impl Iterator<Item = Message>) {
        let mut inbox = self.inbox.lock();
        for message in messages {
            inbox.bytes += message.bytes();
            inbox.messages.push_back(message);
        }
        let reader = if inbox.messages.is_empty() { None } else { inbox.reader.take() };
        drop(inbox);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Takes up to `max` messages out.
    pub(super) fn take(&self, max: usize, task: &Task<'_>) -> Read {
        let mut inbox = self.inbox.lock();
        if inbox.ended {
            return Read::Ended;
        }
        let came = inbox.messages.len();
        let count = came.min(max);
        if count == 0 {
            inbox.reader = Some(task.waker().clone());
            return Read::Nothing;
        }
        let messages: Vec<_> = inbox.messages.drain(..count).collect();
        let room = room_after(inbox.messages.capacity(), came);
        inbox.messages.shrink_to(room);
        inbox.bytes -= messages.iter().map(Message::bytes).sum::<usize>();
        let settled = inbox.settle_first;
        let wake = inbox.full && inbox.messages.len() <= READ_AHEAD / 2;
        inbox.full &= !wake;
        drop(inbox);
        if wake {
            self.mail.wake.wake();
        }
        Read::Some { messages, settled }
    }

    /// From now on what is put in is settled already. Returns what lay unread and is not.
    pub(super) fn settle_first(&self) -> VecDeque<Message> {
        let mut inbox = self.inbox.lock();
        inbox.settle_first = true;
        inbox.bytes = 0;
        std::mem::take(&mut inbox.messages)
    }

    pub(super) fn poll_end(&self, task: &Task<'_>) -> Poll<()> {
        let mut inbox = self.inbox.lock();
        if inbox.ended {
            return Poll::Ready(());
        }
        inbox.reader = Some(task.waker().clone());
        Poll::Pending
    }

    /// Nothing more is read; returns the offsets that lay unread. Settlements are still taken.
    pub(super) fn end(&self) -> Vec<u64> {
        let mut inbox = self.inbox.lock();
        inbox.ended = true;
        inbox.bytes = 0;
        let unread = std::mem::take(&mut inbox.messages);
        let reader = inbox.reader.take();
        drop(inbox);
        if let Some(reader) = reader {
            reader.wake();
        }
        unread.iter().map(|message| message.offset).collect()
    }

    /// From now on settlements count as late.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    /// Takes the settlements out, in exchange for two empty lists.
    pub(super) fn settlements(&self, into: &mut Settled) {
        // Cleared first: who settles after it lists the assignment again.
        self.listed.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *self.settled.lock(), into);
    }

    fn add(&self, offset: u64, is_done: bool) {
        if self.released.load(Ordering::SeqCst) {
            self.mail.late.fetch_add(1, Ordering::Relaxed);
            return;
        }
        {
            let mut settled = self.settled.lock();
            if is_done { settled.done.push(offset) } else { settled.back.push(offset) }
        }
        if !self.listed.load(Ordering::SeqCst) && !self.listed.swap(true, Ordering::SeqCst) {
            self.mail.with_settlements.lock().push(self.generation);
        }
        if !is_done || self.mail.draining.load(Ordering::SeqCst) {
            self.mail.wake.wake();
        }
    }
}

/// The sink of one batch. The deliveries of a batch count references to this instead of to the
/// assignment, so that threads that settle different batches do not share that counter.
pub(super) struct Lot(pub(super) Arc<Assignment>);

impl Settle for Lot {
    fn settle(&self, offset: u64, outcome: Outcome) {
        self.0.add(offset, outcome.is_final());
    }
}
