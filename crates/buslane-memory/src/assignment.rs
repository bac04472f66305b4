//! One partition in the hands of one member, from its assignment to its end: the sink of its
//! settlements.

use crate::{partition::Partition, signal::Signal, wakes::Wakes, window::Window};
use buslane_core::{Outcome, Settle, Source};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

/// A reader or a publisher waits for room; cleared when it is told.
const ROOM: u8 = 1;
/// Somebody waits for the last open delivery; stays.
const DRAIN: u8 = 2;

pub(crate) struct Assignment {
    pub(crate) source: Arc<Source>,
    pub(crate) window: Window,
    /// Deliveries are settled as they are handed out.
    pub(crate) settle_first: bool,
    /// Who wants to hear of settlements: bits of `ROOM` and `DRAIN`.
    attention: AtomicU8,
    ended: AtomicBool,
    group: u64,
    signal: Arc<Signal>,
    /// Weak: the partition's cursor holds the assignment.
    partition: Weak<Partition>,
}

impl Assignment {
    pub(crate) fn new(
        source: Source,
        span: usize,
        settle_first: bool,
        group: u64,
        signal: Arc<Signal>,
        partition: &Arc<Partition>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            window: Window::new(span),
            settle_first,
            attention: AtomicU8::new(0),
            ended: AtomicBool::new(false),
            group,
            signal,
            partition: Arc::downgrade(partition),
        })
    }

    /// The group that the settlements count for.
    pub(crate) const fn group(&self) -> u64 {
        self.group
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Nothing more is read; settlements are still taken, and the group hears of them.
    pub(crate) fn end(&self, wakes: &mut Wakes) {
        self.ended.store(true, Ordering::SeqCst);
        self.attention.fetch_or(DRAIN, Ordering::SeqCst);
        if let Some(partition) = self.partition.upgrade() {
            partition.take_readers(self.group, wakes);
        }
    }

    /// The next settlement wakes whoever waits for room. Look at the settlements once more after
    /// this call.
    pub(crate) fn ask_for_room(&self) {
        self.attention.fetch_or(ROOM, Ordering::SeqCst);
    }

    /// A sink that takes every settlement for a lost one.
    pub(crate) fn losing_acks(self: &Arc<Self>) -> Arc<dyn Settle> {
        let assignment = Arc::clone(self);
        Arc::new(move |offset, _: Outcome| assignment.settle(offset, Outcome::Abandoned))
    }

    #[cold]
    fn tell(&self) {
        let attention = self.attention.fetch_and(!ROOM, Ordering::SeqCst);
        if attention & ROOM != 0
            && let Some(partition) = self.partition.upgrade()
        {
            partition.wake_waiting(self.group);
        }
        if attention & DRAIN != 0 {
            self.signal.notify();
        }
    }

    #[cold]
    fn given_back(&self, offset: u64) {
        if self.window.back(offset)
            && let Some(partition) = self.partition.upgrade()
        {
            partition.wake_waiting(self.group);
            self.tell();
        }
    }
}

impl Settle for Assignment {
    #[inline]
    fn settle(&self, offset: u64, outcome: Outcome) {
        if !outcome.is_final() {
            return self.given_back(offset);
        }
        if !self.window.done(offset) {
            return self.signal.count_late();
        }
        // Who waits sets its bit first and looks at the window then; this sets the window first and
        // looks at the bit then. All four steps are SeqCst, so one of the two sees the other.
        if self.attention.load(Ordering::SeqCst) != 0 {
            self.tell();
        }
    }
}

/// The sink of one batch. The deliveries of a batch count references to this instead of to the
/// assignment, so that threads that settle different batches do not share that counter.
pub(crate) struct Lot(pub(crate) Arc<Assignment>);

impl Settle for Lot {
    #[inline]
    fn settle(&self, offset: u64, outcome: Outcome) {
        self.0.settle(offset, outcome);
    }
}
