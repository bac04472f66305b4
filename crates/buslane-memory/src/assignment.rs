//! The assignment of a partition to a member, which receives the settlements of its deliveries.

use crate::{
    settlement_window::SettlementWindow,
    wakes::{DeferredWakes, GroupSignal},
};
use buslane_core::{Outcome, Settle, Source, Stragglers};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

/// A reader or a publisher waits for capacity. Cleared when that task is woken.
const ROOM: u8 = 1;
/// The group waits for the last open delivery. Never cleared.
const DRAIN: u8 = 2;

/// The tasks that wait for settlements of a partition, or for the end of an assignment.
pub(crate) trait PartitionWaiters: Send + Sync {
    /// Wakes the reader of a group and the first publisher in the queue.
    fn wake_waiting(&self, group: u64);

    /// Takes the wakers of a group's reader, because its assignment has ended.
    fn take_readers(&self, group: u64, wakes: &mut DeferredWakes);
}

/// One partition held by one member, from its assignment to its end.
pub(crate) struct Assignment {
    pub(crate) source: Arc<Source>,
    pub(crate) window: SettlementWindow,
    /// Whether deliveries are settled as they are handed out.
    pub(crate) settle_first: bool,
    /// Bits of `ROOM` and `DRAIN`: the tasks that a settlement must notify.
    attention: AtomicU8,
    ended: AtomicBool,
    group: u64,
    signal: Arc<GroupSignal>,
    /// Those of the member.
    stragglers: Arc<Stragglers>,
    /// Weak, because the partition's cursor holds the assignment.
    partition: Weak<dyn PartitionWaiters>,
}

impl Assignment {
    pub(crate) fn new(
        source: Source,
        span: usize,
        settle_first: bool,
        group: u64,
        signal: Arc<GroupSignal>,
        stragglers: Arc<Stragglers>,
        partition: Weak<dyn PartitionWaiters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            window: SettlementWindow::new(span),
            settle_first,
            attention: AtomicU8::new(0),
            ended: AtomicBool::new(false),
            group,
            signal,
            stragglers,
            partition,
        })
    }

    /// The group for which the settlements count.
    pub(crate) const fn group(&self) -> u64 {
        self.group
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Ends reading. Settlements still count, and notify the group.
    pub(crate) fn end(&self, wakes: &mut DeferredWakes) {
        self.ended.store(true, Ordering::SeqCst);
        self.attention.fetch_or(DRAIN, Ordering::SeqCst);
        if let Some(partition) = self.partition.upgrade() {
            partition.take_readers(self.group, wakes);
        }
    }

    /// The partition belongs to another member now, and `running` messages are still being handled.
    pub(crate) fn left(&self, running: u64) {
        self.stragglers.left(running);
    }

    /// Makes the next settlement wake the tasks that wait for capacity. Callers must check the
    /// settlements once more after this call.
    pub(crate) fn ask_for_room(&self) {
        self.attention.fetch_or(ROOM, Ordering::SeqCst);
    }

    /// A sink that treats every settlement as lost.
    pub(crate) fn losing_acks(self: &Arc<Self>) -> Arc<dyn Settle> {
        let assignment = Arc::clone(self);
        Arc::new(move |offset, _: Outcome| assignment.settle(offset, Outcome::Abandoned))
    }

    /// Notifies the tasks that wait for settlements.
    #[cold]
    fn notify(&self) {
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
        if !self.window.back(offset) {
            return self.stragglers.given_back(1);
        }
        if let Some(partition) = self.partition.upgrade() {
            partition.wake_waiting(self.group);
            self.notify();
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
            self.signal.count_late();
            return self.stragglers.completed(1);
        }
        // A waiting task sets its bit and then looks at the window; a settlement sets the window
        // and then looks at the bit. All four steps are SeqCst, so one of the two sees the other.
        if self.attention.load(Ordering::SeqCst) != 0 {
            self.notify();
        }
    }
}

/// The settlement sink of one batch of deliveries. Deliveries count references to this sink instead
/// of the assignment, so that threads that settle different batches do not contend for one counter.
pub(crate) struct BatchSink(pub(crate) Arc<Assignment>);

impl Settle for BatchSink {
    #[inline]
    fn settle(&self, offset: u64, outcome: Outcome) {
        self.0.settle(offset, outcome);
    }
}
