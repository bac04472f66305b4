//! The state of one partition: what is open, what is done, what may be committed.
//!
//! Pure: it has one owner, no lock, no clock and no broker. It knows offsets, not messages, and not
//! generations: the owner of an assignment makes a tracker for it and drops completions of an
//! earlier one.

mod commit;

use std::collections::BTreeSet;

use crate::desk::Desk;
use crate::done::DoneMap;
use crate::ring::Ring;

/// What a tracker may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Offsets between the lowest open one and the highest delivered one, both included. One bit
    /// each, allocated as it is needed. At least 1, at most 2^31 - 1, which is what the metadata
    /// can say; a value outside is taken as the nearest one inside. Default: 1,048,576 (128 KiB).
    pub span: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { span: 1 << 20 }
    }
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "only New is to be run"]
pub enum Delivery {
    /// Run it. It is open now.
    New,
    /// It is done: do not run it.
    Done,
    /// It is being handled: drop this copy.
    Open,
    /// The span is full: stop reading this partition and deliver this message again later. Nothing
    /// has changed.
    Full,
}

/// Which offsets of a partition are open, and which are done.
///
/// Offsets that never arrive (compaction, transaction markers) count as done once a later one has
/// arrived. Offsets are below 2^63, as those of brokers are.
#[derive(Debug, Clone)]
pub struct Tracker {
    span: u64,
    /// A set bit is an open offset. Its window is `low..next`.
    ring: Ring,
    /// Where reading began.
    start: u64,
    /// The lowest open offset, or `next`.
    low: u64,
    /// One past the highest delivered offset.
    next: u64,
    /// One past the highest offset that is known to be done by more than a gap.
    finished: u64,
    open: u64,
    /// Runs of open offsets: at most as many done runs lie between and behind them.
    open_runs: u64,
    /// Open offsets that nobody handles.
    given_back: BTreeSet<u64>,
    /// What an earlier owner finished at or above `next`; emptied when `next` has passed it.
    restored: DoneMap,
    is_fresh: bool,
    desk: Desk,
}

impl Tracker {
    /// Nothing is done from `start` on, which is the committed offset or where reading begins.
    pub fn new(start: u64, limits: Limits) -> Self {
        Self::restore(DoneMap::empty(start), limits)
    }

    /// Goes on from a commit and its metadata.
    pub fn restore(done: DoneMap, limits: Limits) -> Self {
        let start = done.committed();
        let mut tracker = Self {
            span: limits.span.clamp(1, i32::MAX as u64),
            ring: Ring::new(),
            start,
            low: start,
            next: start,
            finished: start,
            open: 0,
            open_runs: 0,
            given_back: BTreeSet::new(),
            restored: done,
            is_fresh: true,
            desk: Desk::new(start),
        };
        tracker.skip_restored();
        tracker
    }

    /// A message arrived.
    ///
    /// When the very first one lies below the start, the offsets were reset: what was restored says
    /// nothing about them and is dropped, and the tracker begins there.
    #[inline]
    pub fn deliver(&mut self, offset: u64) -> Delivery {
        if self.is_fresh {
            self.is_fresh = false;
            if offset < self.start {
                self.start_over(offset);
            }
        }
        if offset < self.next {
            return self.again(offset);
        }
        let low = if self.open == 0 { offset } else { self.low };
        if offset - low >= self.span {
            return Delivery::Full;
        }
        let follows_open =
            (self.open > 0) & (offset == self.next) & self.ring.get(offset.wrapping_sub(1));
        let is_done = self.restored.contains(offset);
        let before = self.next;
        self.low = low;
        self.next = offset.saturating_add(1);
        if self.next - low > self.ring.capacity() {
            self.grow(before);
        }
        if !is_done {
            self.ring.set(offset);
            self.open += 1;
            self.open_runs += u64::from(!follows_open);
        }
        if !self.restored.is_empty() {
            self.skip_restored();
        }
        if is_done { Delivery::Done } else { Delivery::New }
    }

    /// A message has come to its end. False, and nothing changes, when it is not open.
    #[inline]
    pub fn complete(&mut self, offset: u64) -> bool {
        if !self.is_open(offset) {
            return false;
        }
        self.ring.clear(offset);
        self.open -= 1;
        // The neighbours count only inside of the window: outside, the ring shows its other end. No
        // branches, because nothing predicts them; one open neighbour leaves the number of runs,
        // two split one, none ends one.
        let below = (offset > self.low) & self.ring.get(offset.wrapping_sub(1));
        let above = (offset + 1 < self.next) & self.ring.get(offset + 1);
        self.open_runs = self.open_runs + u64::from(below) + u64::from(above) - 1;
        if !self.given_back.is_empty() {
            self.given_back.remove(&offset);
        }
        self.finished = self.finished.max(offset + 1);
        self.desk.changed();
        if offset == self.low {
            self.advance();
        }
        true
    }

    /// The lowest open offset has ended.
    fn advance(&mut self) {
        if self.open > 0 {
            self.low = self.ring.next_set(self.low + 1);
            return;
        }
        self.low = self.next;
        if !self.restored.is_empty() {
            self.skip_restored();
        }
    }

    /// Nobody handles this open message any more. It stays open, and [`Tracker::deliver`] answers
    /// [`Delivery::New`] when it arrives again. False, and nothing changes, when it is not open.
    pub fn give_back(&mut self, offset: u64) -> bool {
        let is_open = self.is_open(offset);
        if is_open {
            self.given_back.insert(offset);
        }
        is_open
    }

    /// The lowest offset that was given back and has not arrived again: where to read on.
    pub fn next_wanted(&self) -> Option<u64> {
        self.given_back.first().copied()
    }

    /// The offset to commit: the lowest open one, or else [`Tracker::next`].
    pub const fn low(&self) -> u64 {
        self.low
    }

    /// One past the highest delivered offset, or past what is known to be done from there on.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// How many messages are open.
    pub const fn open(&self) -> u64 {
        self.open
    }

    /// Offsets from [`Tracker::low`] to [`Tracker::next`].
    pub const fn span(&self) -> u64 {
        self.next - self.low
    }

    /// How many consecutive offsets can be delivered before [`Delivery::Full`].
    pub const fn room(&self) -> u64 {
        self.span - self.span()
    }

    /// Gives back memory that the present span does not need. For partitions that have gone idle:
    /// O(span).
    pub fn shrink(&mut self) {
        self.ring.resize(self.span(), self.low, self.next);
    }

    #[inline]
    fn is_open(&self, offset: u64) -> bool {
        offset >= self.low && offset < self.next && self.ring.get(offset)
    }

    /// An offset below `next` arrived: after the owner went back to read what was given back.
    #[cold]
    fn again(&mut self, offset: u64) -> Delivery {
        if self.given_back.remove(&offset) {
            Delivery::New
        } else if self.is_open(offset) {
            Delivery::Open
        } else {
            Delivery::Done
        }
    }

    /// With nothing open the commit point follows `next`, over what is restored there too: a commit
    /// needs no map for it.
    fn skip_restored(&mut self) {
        if self.open == 0 {
            if let Some(range) = self.restored.range_at(self.next) {
                self.next = range.end;
            }
            self.low = self.next;
        }
        if self.restored.end() <= self.next && !self.restored.is_empty() {
            // The ring knows it now, and it stays worth telling.
            self.finished = self.finished.max(self.restored.end());
            self.restored = DoneMap::empty(self.start);
        }
    }

    #[cold]
    fn start_over(&mut self, offset: u64) {
        self.restored = DoneMap::empty(offset);
        (self.start, self.low, self.next, self.finished) = (offset, offset, offset, offset);
    }

    #[cold]
    fn grow(&mut self, before: u64) {
        // The ring holds what lay below the `next` of before. It at least doubles, so copying stays
        // a constant share.
        self.ring.resize(self.span(), self.low, before);
    }
}
