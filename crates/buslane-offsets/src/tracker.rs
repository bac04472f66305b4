//! The state of one partition: which offsets are open, which are done, and what may be committed.
//!
//! Pure: a tracker has one owner, and no lock, clock or broker. It knows offsets, not messages or
//! generations: the owner of an assignment creates a tracker for it, and drops the completions of
//! earlier assignments.

use crate::{
    codec::encode,
    commit_state::{CommitState, PendingCommit},
    done_map::DoneMap,
    ring::Ring,
    snapshot::CommitSnapshot,
};
use std::collections::BTreeSet;

/// The bounds of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Offsets from the lowest open one to the highest delivered one, both included. Each takes one
    /// bit, allocated when needed. Clamped to 1 ..= 2^31 - 1, the most that metadata can express.
    /// Default: 1,048,576 (128 KiB).
    pub span: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { span: 1 << 20 }
    }
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "only a message that is New may run"]
pub enum Disposition {
    /// It was unknown and is open now: run it.
    New,
    /// It is done: do not run it.
    Done,
    /// It is running already: drop this copy.
    Open,
    /// The span is full, and nothing changed: stop reading the partition, and deliver this message
    /// again later.
    Full,
}

/// Which offsets of a partition are open, and which are done.
///
/// Offsets that never arrive (compaction, transaction markers) count as done once a later one
/// arrives. Offsets are below 2^63, as those of brokers are.
///
/// ```
/// use buslane_offsets::{Disposition, Limits, METADATA_LIMIT, Tracker};
///
/// let mut tracker = Tracker::new(7, Limits::default());
/// assert_eq!(tracker.deliver(7), Disposition::New);
/// assert_eq!(tracker.deliver(8), Disposition::New);
/// tracker.complete(8);
///
/// // 7 is open, so the commit stays there, and its metadata names 8.
/// let commit = tracker.next_commit(METADATA_LIMIT).expect("8 is done");
/// assert_eq!((commit.offset, tracker.open()), (7, 1));
/// ```
#[derive(Debug, Clone)]
pub struct Tracker {
    span: u64,
    /// A set bit is an open offset. The window is `low..next`.
    ring: Ring,
    /// Where reading began.
    start: u64,
    /// The lowest open offset, or `next`.
    low: u64,
    /// One past the highest delivered offset.
    next: u64,
    /// One past the highest offset that completed or was restored as done; a gap does not count.
    finished: u64,
    open: u64,
    /// Runs of open offsets. At most as many done runs lie between and behind them.
    open_runs: u64,
    /// Open offsets that were given back and have not arrived again.
    given_back: BTreeSet<u64>,
    /// Offsets at or above `next` that an earlier owner finished; emptied once `next` has passed
    /// them.
    restored: DoneMap,
    is_fresh: bool,
    commits: CommitState,
}

impl Tracker {
    /// A tracker with nothing done from `start` on: the committed offset, or where reading begins.
    pub fn new(start: u64, limits: Limits) -> Self {
        Self::restore(DoneMap::empty(start), limits)
    }

    /// Resumes from a commit and its metadata.
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
            commits: CommitState::new(start),
        };
        tracker.skip_restored();
        tracker
    }

    /// Records that a message arrived, and decides whether it runs.
    ///
    /// A first message below the start means that the offsets were reset: the tracker drops what it
    /// restored, and starts at that message.
    #[inline]
    pub fn deliver(&mut self, offset: u64) -> Disposition {
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
            return Disposition::Full;
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
        if is_done { Disposition::Done } else { Disposition::New }
    }

    /// Marks an open offset as done. Returns `false` and changes nothing when it is not open.
    #[inline]
    pub fn complete(&mut self, offset: u64) -> bool {
        if !self.is_open(offset) {
            return false;
        }
        self.ring.clear(offset);
        self.open -= 1;
        // Neighbours count only inside the window, because the ring wraps around outside it. One
        // open neighbour keeps the number of runs, two split a run, none ends one. The computation
        // has no branches, because they would be unpredictable.
        let below = (offset > self.low) & self.ring.get(offset.wrapping_sub(1));
        let above = (offset + 1 < self.next) & self.ring.get(offset + 1);
        self.open_runs = self.open_runs + u64::from(below) + u64::from(above) - 1;
        if !self.given_back.is_empty() {
            self.given_back.remove(&offset);
        }
        self.finished = self.finished.max(offset + 1);
        self.commits.changed();
        if offset == self.low {
            self.advance();
        }
        true
    }

    /// Moves `low` after the lowest open offset was completed.
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

    /// Gives an open offset back: it stays open, and [`Tracker::deliver`] returns
    /// [`Disposition::New`] when it arrives again. Returns `false` and changes nothing when it is
    /// not open.
    pub fn give_back(&mut self, offset: u64) -> bool {
        let is_open = self.is_open(offset);
        if is_open {
            self.given_back.insert(offset);
        }
        is_open
    }

    /// The lowest offset that was given back and has not arrived again: reading resumes there.
    pub fn next_wanted(&self) -> Option<u64> {
        self.given_back.first().copied()
    }

    /// The offset to commit: the lowest open one, or [`Tracker::next`] when none is open.
    pub const fn low(&self) -> u64 {
        self.low
    }

    /// One past the highest offset that was delivered or is known to be done.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The number of open offsets.
    pub const fn open(&self) -> u64 {
        self.open
    }

    /// The number of offsets from [`Tracker::low`] to [`Tracker::next`].
    pub const fn span(&self) -> u64 {
        self.next - self.low
    }

    /// The number of consecutive offsets that fit before [`Disposition::Full`].
    pub const fn room(&self) -> u64 {
        self.span - self.span()
    }

    /// Frees memory that the current span does not need, for partitions that became idle. O(span).
    pub fn shrink(&mut self) {
        self.ring.resize(self.span(), self.low, self.next);
    }

    #[inline]
    fn is_open(&self, offset: u64) -> bool {
        offset >= self.low && offset < self.next && self.ring.get(offset)
    }

    /// Handles an offset below `next`, which arrives after the owner went back to a given-back one.
    #[cold]
    fn again(&mut self, offset: u64) -> Disposition {
        if self.given_back.remove(&offset) {
            Disposition::New
        } else if self.is_open(offset) {
            Disposition::Open
        } else {
            Disposition::Done
        }
    }

    /// Moves the commit point to `next` while nothing is open, and past restored offsets there, so
    /// that a commit needs no map for them.
    fn skip_restored(&mut self) {
        if self.open == 0 {
            if let Some(range) = self.restored.range_at(self.next) {
                self.next = range.end;
            }
            self.low = self.next;
        }
        if self.restored.end() <= self.next && !self.restored.is_empty() {
            // The ring holds these offsets now; `finished` keeps them in the next commit.
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
        // The ring holds the offsets below the previous `next`. It at least doubles, so the cost of
        // copying is amortised.
        self.ring.resize(self.span(), self.low, before);
    }
}

impl Tracker {
    /// The next commit, with metadata of at most `limit` characters (the broker's limit; see
    /// [`METADATA_LIMIT`](crate::METADATA_LIMIT)). A `limit` of 0 commits the offset alone.
    ///
    /// `None` while an earlier commit awaits [`Tracker::acknowledged`] or [`Tracker::refused`], and
    /// when nothing has changed since the last acknowledged commit.
    pub fn next_commit(&mut self, limit: usize) -> Option<PendingCommit> {
        if !self.commits.may_have_news(self.low) {
            return None;
        }
        let encoded = encode::encode(&self.snapshot(), limit);
        self.commits.begin(self.low, encoded.metadata, encoded.left_out)
    }

    /// Done offsets, gaps included, that had no room in the metadata at the last
    /// [`Tracker::next_commit`], also where that returned `None` because the offsets that fit are
    /// still the same.
    pub const fn left_out(&self) -> u64 {
        self.commits.left_out
    }

    /// The broker has stored this commit. A commit that is not the one in flight is ignored.
    pub fn acknowledged(&mut self, commit: &PendingCommit) {
        self.commits.end(commit, true);
    }

    /// The broker has not stored this commit, or its answer is unknown: the next commit contains
    /// everything again.
    pub fn refused(&mut self, commit: &PendingCommit) {
        self.commits.end(commit, false);
    }

    /// An upper bound, computed in O(1), for the length of metadata that leaves no offset out.
    pub fn metadata_bound(&self) -> usize {
        let positions = self.known().max(self.restored.end()) - self.low;
        if positions == 0 {
            return 0;
        }
        let runs = self.open_runs.saturating_add(self.restored.len() as u64);
        let bytes = encode::bound(runs, positions);
        usize::try_from(bytes.div_ceil(3) * 4).unwrap_or(usize::MAX)
    }

    fn snapshot(&self) -> CommitSnapshot<'_> {
        let known = self.known();
        let is_short = known - self.low < self.next - known;
        let open = if is_short {
            self.ring.count(self.low, known)
        } else {
            self.open - self.ring.count(known, self.next)
        };
        CommitSnapshot { ring: &self.ring, low: self.low, known, open, restored: &self.restored }
    }

    /// The end of the offsets that the snapshot reads from the ring.
    fn known(&self) -> u64 {
        // Metadata need not name a gap at the end: an offset that does not exist never arrives.
        if self.restored.end() > self.next { self.next } else { self.finished.max(self.low) }
    }
}
