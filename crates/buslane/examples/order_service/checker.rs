//! Checks the promises on order while handlers run. Knows nothing of the bus.
//!
//! Per sequence (the messages of one run, topic and aggregate) it keeps the highest number that has begun, how many
//! handlers run, and which numbers are over. Sequences are spread over shards, so handlers hardly ever meet.

use buslane::Topic;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

/// Names a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sequence {
    /// Which run of the publisher it belongs to.
    pub(crate) run: Bytes,
    pub(crate) topic: Topic,
    /// Empty for messages without a key, whose order is not promised.
    pub(crate) aggregate: Bytes,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing more will be tried.
    Over,
    /// It is to be tried again, or becomes a dead letter.
    Open,
}

/// All sequences.
pub(crate) struct Checker {
    shards: [Mutex<HashMap<Sequence, State>>; 64],
    hasher: RandomState,
}

#[derive(Default)]
struct State {
    latest: u64,
    running: u32,
    over: Numbers,
}

impl Checker {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    /// A handler begins with message `seq`; whether that is in order. Out of order is a message that begins beside
    /// another of its sequence, or after a later one. One that is over already and comes again is a duplicate, and
    /// not out of order.
    pub(crate) fn begin(&self, sequence: &Sequence, seq: u64) -> bool {
        self.with(sequence, |state| {
            let beside = state.running > 0;
            let behind = seq < state.latest && !state.over.contains(seq);
            state.latest = state.latest.max(seq);
            state.running += 1;
            sequence.aggregate.is_empty() || !(beside || behind)
        })
    }

    /// The handler of message `seq` ended; whether the message is over now and was not before.
    pub(crate) fn end(&self, sequence: &Sequence, seq: u64, end: End) -> bool {
        self.with(sequence, |state| {
            state.running -= 1;
            end == End::Over && state.over.insert(seq)
        })
    }

    /// The dead letter of message `seq` was read; whether the message was not over before.
    pub(crate) fn bury(&self, sequence: &Sequence, seq: u64) -> bool {
        self.with(sequence, |state| state.over.insert(seq))
    }

    fn with<T>(&self, sequence: &Sequence, look: impl FnOnce(&mut State) -> T) -> T {
        let hash = self.hasher.hash_one(sequence);
        let shard = hash >> 58; // the top 6 bits: one of 64
        let mut states = self.shards[usize::try_from(shard).unwrap_or(0)].lock();
        if let Some(state) = states.get_mut(sequence) {
            return look(state);
        }
        look(states.entry(sequence.clone()).or_default())
    }
}

/// A set of numbers that are mostly without gaps: ranges, both ends included, in order.
#[derive(Default)]
struct Numbers(Vec<(u64, u64)>);

impl Numbers {
    fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= self.0[after - 1].1
    }

    /// Whether it was not there before.
    fn insert(&mut self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        if after > 0 && number <= self.0[after - 1].1 {
            return false;
        }
        let joins_before = after > 0 && self.0[after - 1].1 + 1 == number;
        let joins_after = self.0.get(after).is_some_and(|(first, _)| number + 1 == *first);
        match (joins_before, joins_after) {
            (true, true) => self.0[after - 1].1 = self.0.remove(after).1,
            (true, false) => self.0[after - 1].1 = number,
            (false, true) => self.0[after].0 = number,
            (false, false) => self.0.insert(after, (number, number)),
        }
        true
    }
}
