//! The state that the task, the intake and the settlements of a source share under one lock, and
//! the intake itself.

use super::open_messages::{Ack, AckKind, OpenMessages};
use crate::{lease::term::Lease, names};
use async_nats::Subject;
use buslane_core::{
    Delivery, Intake, Message, Outcome, Settle, Settlement, Source, Stragglers, SubscribeOptions,
    Topic, shrunk_capacity,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};
use tokio::sync::Notify;

/// The state that the task, the intake and the settlements of a source share.
pub(crate) struct SourceHandle {
    pub(crate) source: Arc<Source>,
    /// `None` where the topic has no partitions.
    pub(super) partition: Option<u32>,
    pub(super) state: Mutex<SourceState>,
    /// Wakes the task when there is work.
    pub(super) work: Notify,
    /// Whether the reader catches up, and hands on no message.
    pub(super) is_recovering: AtomicBool,
    /// The lease to read the source; `None` when members share the source.
    lease: Option<Lease>,
    stragglers: Arc<Stragglers>,
}

pub(super) struct SourceState {
    pub(super) open: OpenMessages,
    /// The number of messages that the intake has taken and handlers have not settled.
    running: u64,
    pub(super) ready: VecDeque<Ready>,
    /// The intake that waits for messages or for the end.
    pub(super) waker: Option<Waker>,
    pub(super) end: End,
    /// The task requests more messages when fewer than this number are ready.
    pub(super) low: usize,
    pub(super) options: SubscribeOptions,
    /// Messages that the task must settle before it hands them on, in order.
    pub(super) unsettled: VecDeque<Ready>,
}

/// A message that the intake has not taken, with its slot; `None` if the message is already
/// settled.
pub(super) struct Ready {
    pub(super) message: Message,
    pub(super) subject: Subject,
    pub(super) slot: Option<u32>,
    /// Whether the server does not deliver the message again.
    pub(super) is_last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The source is being read.
    Open,
    /// Reading has ended; open messages may end until the deadline, if there is one.
    Ended(Option<Instant>),
    /// The source belongs to another member, so settlements are late.
    Lost,
}

impl SourceHandle {
    pub(crate) fn new(
        source: Arc<Source>,
        partition: Option<u32>,
        capacity: usize,
        low: usize,
        lease: Option<Lease>,
        stragglers: &Arc<Stragglers>,
    ) -> Arc<Self> {
        let state = SourceState {
            open: OpenMessages::new(capacity),
            running: 0,
            ready: VecDeque::new(),
            waker: None,
            end: End::Open,
            low,
            options: SubscribeOptions::default(),
            unsettled: VecDeque::new(),
        };
        Arc::new(Self {
            source,
            partition,
            state: Mutex::new(state),
            work: Notify::new(),
            is_recovering: AtomicBool::new(true),
            lease,
            stragglers: Arc::clone(stragglers),
        })
    }

    /// Ends reading. Open messages may end until `deadline`, or until an earlier one.
    pub(crate) fn end(&self, deadline: Option<Instant>) {
        self.change(|end| match (*end, deadline) {
            (End::Lost, _) => {}
            (End::Ended(Some(before)), Some(now)) => *end = End::Ended(Some(before.min(now))),
            (End::Ended(before), None) => *end = End::Ended(before),
            (_, deadline) => *end = End::Ended(deadline),
        });
    }

    /// Ends reading at once and sends nothing more to the server, because the source belongs to
    /// another member.
    pub(crate) fn lose(&self) {
        self.state.lock().lose(&self.stragglers);
        self.notify();
    }

    /// Sets how messages are handed on, including unread ones. `settle_first` is never reset.
    pub(crate) fn set(&self, options: SubscribeOptions) {
        let mut state = self.state.lock();
        state.options.subject_key = options.subject_key;
        if options.settle_first && !std::mem::replace(&mut state.options.settle_first, true) {
            state.unsettled = std::mem::take(&mut state.ready);
        }
        drop(state);
        self.work.notify_one();
    }

    fn change(&self, change: impl FnOnce(&mut End)) {
        change(&mut self.state.lock().end);
        self.notify();
    }

    /// Wakes the intake and the task, because the end has changed.
    fn notify(&self) {
        let waker = self.state.lock().waker.take();
        self.work.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn end_state(&self) -> End {
        self.state.lock().end
    }

    /// Whether the source belongs to another member.
    pub(crate) fn is_lost(&self) -> bool {
        self.end_state() == End::Lost
    }

    /// Whether reading has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.end_state() != End::Open
    }

    /// Whether this member may act for the source. A process that was suspended may resume after
    /// its lease has expired.
    pub(super) fn is_ours(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.is_valid(Instant::now()))
    }

    /// The number of open messages.
    pub(crate) fn open(&self) -> usize {
        self.state.lock().open.len()
    }

    /// Detaches every open message from its handler. Later settlements are late.
    pub(super) fn abandon(&self) -> Vec<Ack> {
        let mut state = self.state.lock();
        state.lose(&self.stragglers);
        state.open.abandon()
    }

    /// The number of messages that wait for the intake. `None` while there is a good reason that no
    /// message arrives: a reader that catches up, or handlers that hold all messages.
    pub(crate) fn waiting(&self) -> Option<u64> {
        if self.is_recovering.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state.lock();
        let waiting = (state.ready.len() + state.unsettled.len()) as u64;
        (waiting > 0 || state.open.room() > 0).then_some(waiting)
    }

    pub(super) fn place(&self) -> Option<(Topic, u32)> {
        Some((self.source.topic.clone(), self.source.partition))
    }

    /// When the stream stored the oldest open message, in milliseconds since the Unix epoch.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.state.lock().open.oldest_ms()
    }
}

impl SourceState {
    /// Ends the source: messages that handlers hold now are stragglers, and settle too late.
    fn lose(&mut self, stragglers: &Stragglers) {
        if std::mem::replace(&mut self.end, End::Lost) != End::Lost {
            stragglers.left(self.running);
        }
    }

    /// Queues messages for the intake, or for settlement if that comes first.
    pub(super) fn put(&mut self, messages: impl IntoIterator<Item = Ready>) {
        let queue = if self.options.settle_first { &mut self.unsettled } else { &mut self.ready };
        queue.extend(messages);
    }

    /// Removes the messages that the intake has not taken.
    pub(super) fn unread(&mut self) -> impl Iterator<Item = Ready> {
        self.ready.drain(..).chain(self.unsettled.drain(..))
    }
}

impl Settle for SourceHandle {
    fn settle(&self, token: u64, outcome: Outcome) {
        let Ok(slot) = u32::try_from(token) else { return };
        let mut state = self.state.lock();
        let is_late = state.end == End::Lost;
        state.running = state.running.saturating_sub(1);
        // A late settlement frees its slot too.
        let is_first = state.open.settle(slot, AckKind::of(&outcome));
        drop(state);
        if is_late {
            match outcome.is_final() {
                true => self.stragglers.completed(1),
                false => self.stragglers.given_back(1),
            }
            let (topic, partition) = (self.source.topic.as_str(), self.source.partition);
            tracing::debug!(
                topic,
                partition,
                "a settlement came after its partition was lost: ignored"
            );
        }
        if is_first {
            self.work.notify_one();
        }
    }
}

/// The intake of the bus. It takes ready messages, and never waits for the server.
pub(crate) struct NatsIntake(pub(crate) Arc<SourceHandle>);

impl Intake for NatsIntake {
    fn source(&self) -> &Arc<Source> {
        &self.0.source
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>> {
        let mut state = self.0.state.lock();
        if state.end != End::Open {
            return Poll::Ready(None);
        }
        // Without a valid lease the intake waits for the end of the source.
        let came = state.ready.len();
        let count = if self.0.is_ours() { max.min(came) } else { 0 };
        if count == 0 {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let has_subject_key = state.options.subject_key;
        let was_low = came < state.low;
        let sink: Arc<dyn Settle> = Arc::clone(&self.0) as _;
        let settled = state.ready.iter().take(count).filter(|ready| ready.slot.is_none()).count();
        state.running += (count - settled) as u64;
        out.extend(state.ready.drain(..count).map(
            |Ready { mut message, subject, slot, is_last }| {
                if has_subject_key && message.key.is_none() {
                    let key = names::key(&subject, &self.0.source.topic, self.0.partition);
                    message.key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
                }
                let settlement = match slot {
                    Some(slot) => Settlement::new(Arc::clone(&sink), u64::from(slot)),
                    None => Settlement::ignored(),
                };
                Delivery { message, settlement: settlement.last(is_last) }
            },
        ));
        let room = shrunk_capacity(state.ready.capacity(), came);
        state.ready.shrink_to(room);
        let is_low = state.ready.len() < state.low;
        drop(state);
        if is_low && !was_low {
            self.0.work.notify_one();
        }
        Poll::Ready(Some(count))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if state.end == End::Open {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
