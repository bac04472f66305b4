//! What a broker counts by itself, for the metrics of the bus.

use std::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Numbers that a broker has counted since it was made.
///
/// A broker states what it counts, and the rest by `..BrokerCounts::default()`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerCounts {
    /// Messages that were delivered although their headers cannot be read.
    pub unreadable: u64,
    /// Messages that are being handled now although their partition has left this member.
    pub stragglers: u64,
    /// Messages of a partition that had left this member before they were done: their settlements
    /// were ignored.
    pub late_completions: u64,
    /// Settled offsets that had no room in the metadata of a commit.
    pub left_out_offsets: u64,
}

/// The messages that are being handled although their partition has left this member, for
/// implementations of [`Broker::counts`](super::Broker::counts).
///
/// ```
/// use buslane_core::Stragglers;
///
/// let stragglers = Stragglers::default();
/// stragglers.left(3);
/// stragglers.completed(1);
/// stragglers.given_back(1);
/// assert_eq!((stragglers.running(), stragglers.late_completions()), (1, 1));
/// ```
#[derive(Debug, Default)]
pub struct Stragglers {
    /// Below zero while a message ends before the call of `left` that counts it.
    running: AtomicI64,
    late: AtomicU64,
}

impl Stragglers {
    /// A partition has left while `running` of its messages were being handled.
    pub fn left(&self, running: u64) {
        self.running.fetch_add(signed(running), Relaxed);
    }

    /// Counts stragglers whose handlers have finished them. Their settlements are ignored.
    pub fn completed(&self, messages: u64) {
        self.late.fetch_add(messages, Relaxed);
        // A reader that sees no straggler also sees these completions.
        self.running.fetch_sub(signed(messages), Release);
    }

    /// Counts stragglers that were given back unfinished.
    pub fn given_back(&self, messages: u64) {
        self.running.fetch_sub(signed(messages), Release);
    }

    /// The number of messages that are still being handled.
    pub fn running(&self) -> u64 {
        u64::try_from(self.running.load(Acquire)).unwrap_or(0)
    }

    /// The number of messages that are done too late.
    pub fn late_completions(&self) -> u64 {
        self.late.load(Relaxed)
    }

    /// Both numbers, for [`Broker::counts`](super::Broker::counts).
    pub fn counts(&self) -> BrokerCounts {
        BrokerCounts {
            stragglers: self.running(),
            late_completions: self.late_completions(),
            ..BrokerCounts::default()
        }
    }
}

fn signed(messages: u64) -> i64 {
    i64::try_from(messages).unwrap_or(i64::MAX)
}
