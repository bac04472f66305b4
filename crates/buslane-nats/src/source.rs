//! One source of messages: a durable consumer, read by one task.
//!
//! The task ([`reader`]) owns the requests, the answers and the beats. The intake takes what is
//! ready, and settlements leave their outcome behind; both under the lock of the source, and
//! neither waits.

mod ack_queue;
mod arena;
mod inbox;
mod intake;
mod listener;
mod reader;
mod recently_acked;
mod recovery;
mod reply;
mod unreadable;
mod window;

pub(crate) use intake::NatsIntake;
pub(crate) use listener::Listener;
pub(crate) use reader::{DurableSource, Reader};

use crate::lease::Lease;
use async_nats::Subject;
use buslane_core::{Message, Outcome, Settle, Source, SubscribeOptions, Topic};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Instant,
};
use tokio::sync::Notify;
use window::{Ack, AckKind, Window};

/// What task, intake and settlements of a source share.
pub(crate) struct Shared {
    pub(crate) source: Arc<Source>,
    /// None where the topic has no partitions.
    partition: Option<u32>,
    state: Mutex<State>,
    /// Tells the task that there is something to do.
    work: Notify,
    /// Whether what an earlier reader has left open is looked for: nothing is handed on meanwhile.
    looks_back: AtomicBool,
    /// What allows this member to act, where others wait for the source.
    lease: Option<Lease>,
}

struct State {
    window: Window,
    ready: VecDeque<Ready>,
    /// Who waits for messages or for the end.
    waker: Option<Waker>,
    end: End,
    /// Fewer messages than these are ready: the task asks for more.
    low: usize,
    options: SubscribeOptions,
    /// Not handed on before the task has settled them, in order; where messages are settled first.
    unsettled: VecDeque<Ready>,
}

/// A message that nobody has taken yet, and its slot; none when it is settled already.
struct Ready {
    message: Message,
    subject: Subject,
    slot: Option<u32>,
    /// The server delivers it no more.
    is_last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is read.
    Open,
    /// It is not read any more; what is open is awaited, until then if there is a deadline.
    Ended(Option<Instant>),
    /// It belongs to somebody else: settlements are late.
    Lost,
}

impl Shared {
    pub(crate) fn new(
        source: Arc<Source>,
        partition: Option<u32>,
        capacity: usize,
        low: usize,
        lease: Option<Lease>,
    ) -> Arc<Self> {
        let state = State {
            window: Window::new(capacity),
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
            looks_back: AtomicBool::new(true),
            lease,
        })
    }

    /// Ends reading. What is open is awaited until `deadline`; an earlier one counts.
    pub(crate) fn end(&self, deadline: Option<Instant>) {
        self.change(|end| match (*end, deadline) {
            (End::Lost, _) => {}
            (End::Ended(Some(before)), Some(now)) => *end = End::Ended(Some(before.min(now))),
            (End::Ended(before), None) => *end = End::Ended(before),
            (_, deadline) => *end = End::Ended(deadline),
        });
    }

    /// Ends reading at once, without another word to the server: the source belongs to somebody
    /// else.
    pub(crate) fn lose(&self) {
        self.change(|end| *end = End::Lost);
    }

    /// How messages are handed on from now on, also those that lie unread. What is settled first
    /// stays so.
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
        let mut state = self.state.lock();
        change(&mut state.end);
        let waker = state.waker.take();
        drop(state);
        self.work.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn end_state(&self) -> End {
        self.state.lock().end
    }

    /// Whether it is not read any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.end_state() != End::Open
    }

    /// Whether this member may act for the source. A process that was stopped may wake up too late.
    fn is_ours(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.is_valid(Instant::now()))
    }

    /// Messages that are open.
    pub(crate) fn open(&self) -> usize {
        self.state.lock().window.len()
    }

    /// Takes every open message out of the hands of its handler; what becomes of it later is late.
    fn abandon(&self) -> Vec<Ack> {
        let mut state = self.state.lock();
        state.end = End::Lost;
        state.window.abandon()
    }

    /// Messages that wait here to be taken, where those that wait at the server could come too;
    /// `None` while nothing comes for a good reason.
    pub(crate) fn waiting(&self) -> Option<u64> {
        if self.looks_back.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state.lock();
        let waiting = (state.ready.len() + state.unsettled.len()) as u64;
        (waiting > 0 || state.window.room() > 0).then_some(waiting)
    }

    fn place(&self) -> Option<(Topic, u32)> {
        Some((self.source.topic.clone(), self.source.partition))
    }

    /// When the stream took the oldest open message, in milliseconds since the Unix epoch.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.state.lock().window.oldest_ms()
    }
}

impl State {
    /// Messages that can be handed on, once they are settled where that comes first.
    fn put(&mut self, messages: impl IntoIterator<Item = Ready>) {
        let queue = if self.options.settle_first { &mut self.unsettled } else { &mut self.ready };
        queue.extend(messages);
    }

    /// What nobody has taken.
    fn unread(&mut self) -> impl Iterator<Item = Ready> {
        self.ready.drain(..).chain(self.unsettled.drain(..))
    }
}

impl Settle for Shared {
    fn settle(&self, token: u64, outcome: Outcome) {
        let Ok(slot) = u32::try_from(token) else { return };
        let mut state = self.state.lock();
        let is_late = state.end == End::Lost;
        // A slot is freed also when it is too late to answer.
        let is_first = state.window.settle(slot, AckKind::of(&outcome));
        drop(state);
        if is_late {
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
