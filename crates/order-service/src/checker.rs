//! Checks order while handlers run. Knows nothing of the bus.
//!
//! Per sequence (the messages of one run, topic and aggregate) it keeps the highest number that has
//! begun, the number of running handlers, and the numbers that are over. Shards keep handlers from
//! contending. A sequence is known by 64 bits of a hash: of a million sequences, two collide in one
//! of 37 million runs. Where other processes handle messages too, a sequence that has not been seen
//! for a while is forgotten, because it may have moved to another process.

use buslane::Topic;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

/// Time for which an unseen sequence is remembered, at least; at most twice as long.
const KEPT: Duration = Duration::from_secs(60);

/// Names a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sequence {
    /// The publisher's run.
    pub(crate) run: Bytes,
    pub(crate) topic: Topic,
    /// Empty for messages without a key, whose order is not promised.
    pub(crate) aggregate: Bytes,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// No attempt follows.
    Over,
    /// The message is tried again, or becomes a dead letter.
    Open,
}

/// A violation of order; `latest` is the highest number of the sequence that had begun before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disorder {
    /// Another message of the sequence was running.
    Beside { latest: u64 },
    /// A later message had begun before this one was over.
    Late { latest: u64 },
}

/// All sequences.
pub(crate) struct Checker {
    /// Whether this process handles all messages.
    sees_all: bool,
    shards: [Mutex<Shard>; 64],
    hasher: RandomState,
}

struct Shard {
    /// Sequences seen in the present period.
    recent: HashMap<u64, State>,
    /// Sequences seen in the period before, and not since.
    older: HashMap<u64, State>,
    since: Instant,
}

impl Shard {
    fn new() -> Self {
        Self { recent: HashMap::new(), older: HashMap::new(), since: Instant::now() }
    }

    fn state(&mut self, sequence: u64) -> &mut State {
        let older = &mut self.older;
        self.recent.entry(sequence).or_insert_with(|| older.remove(&sequence).unwrap_or_default())
    }

    fn forget(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) < KEPT {
            return;
        }
        self.since = now;
        let forgotten = std::mem::replace(&mut self.older, std::mem::take(&mut self.recent));
        self.recent.extend(forgotten.into_iter().filter(|(_, state)| state.running > 0));
    }
}

#[derive(Default)]
struct State {
    latest: u64,
    running: u32,
    over: Numbers,
}

impl Checker {
    pub(crate) fn new(sees_all: bool) -> Self {
        Self {
            sees_all,
            shards: std::array::from_fn(|_| Mutex::new(Shard::new())),
            hasher: RandomState::new(),
        }
    }

    /// A handler begins with message `seq`. A message is out of order when it begins beside another
    /// of its sequence, or after a later one. A message that is over and comes again is a
    /// duplicate, and not out of order. A process that does not handle all messages cannot know
    /// which of them others have finished, so it does not judge late ones.
    pub(crate) fn begin(&self, sequence: &Sequence, seq: u64) -> Result<(), Disorder> {
        self.with(sequence, |state| {
            let beside = state.running > 0;
            let latest = state.latest;
            state.latest = latest.max(seq);
            state.running += 1;
            if sequence.aggregate.is_empty() {
                return Ok(());
            }
            if beside {
                return Err(Disorder::Beside { latest });
            }
            let is_late = self.sees_all && seq < latest && !state.over.contains(seq);
            if is_late { Err(Disorder::Late { latest }) } else { Ok(()) }
        })
    }

    /// The handler of message `seq` ended. Returns whether the message has just become over.
    pub(crate) fn end(&self, sequence: &Sequence, seq: u64, end: End) -> bool {
        self.with(sequence, |state| {
            state.running -= 1;
            end == End::Over && state.over.insert(seq, self.most_ranges())
        })
    }

    /// The dead letter of message `seq` was read. Returns whether the message was open until then.
    pub(crate) fn bury(&self, sequence: &Sequence, seq: u64) -> bool {
        self.with(sequence, |state| state.over.insert(seq, self.most_ranges()))
    }

    /// Ranges kept for each sequence: where other processes handle messages too, gaps never end.
    /// Three ranges, and a fourth for a moment, fit into the first allocation of a list.
    const fn most_ranges(&self) -> usize {
        if self.sees_all { usize::MAX } else { 3 }
    }

    fn with<T>(&self, sequence: &Sequence, look: impl FnOnce(&mut State) -> T) -> T {
        let hash = self.hasher.hash_one(sequence);
        let shard = hash >> 58; // the top 6 bits: one of 64
        let mut shard = self.shards[usize::try_from(shard).unwrap_or(0)].lock();
        if !self.sees_all {
            shard.forget(Instant::now());
        }
        look(shard.state(hash))
    }
}

/// A set of mostly consecutive numbers, as ordered ranges that include both ends.
#[derive(Default)]
struct Numbers(Vec<(u64, u64)>);

impl Numbers {
    fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= self.0[after - 1].1
    }

    /// Returns whether the number is new. With more than `most` ranges the first gap is closed.
    fn insert(&mut self, number: u64, most: usize) -> bool {
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
        if self.0.len() > most {
            self.0[0].1 = self.0.remove(1).1;
        }
        true
    }
}
