//! A tracker beside a naive model of it: sets of offsets, searched from the front. Both must agree
//! after every step.

use std::collections::BTreeSet;

use buslane_offsets::{Disposition, DoneMap, Limits, PendingCommit, Tracker, codec};
use proptest::prelude::*;

/// The largest span of a map in the tests.
pub(crate) const MAX_SPAN: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// The next offset, after a gap.
    Deliver(u64),
    /// An offset this far below the next one, which may have arrived before.
    Again(u64),
    /// The nth open offset.
    Complete(usize),
    /// An offset that may not be open.
    CompleteAny(u64),
    GiveBack(usize),
    Commit(usize),
    Acknowledge,
    Refuse,
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => prop_oneof![4 => Just(0), 1 => 1..4_u64, 1 => 1..200_u64].prop_map(Op::Deliver),
        1 => (0..80_u64).prop_map(Op::Again),
        5 => any::<usize>().prop_map(Op::Complete),
        1 => (0..200_u64).prop_map(Op::CompleteAny),
        1 => any::<usize>().prop_map(Op::GiveBack),
        2 => prop_oneof![Just(4096_usize), 0..64_usize].prop_map(Op::Commit),
        1 => Just(Op::Acknowledge),
        1 => Just(Op::Refuse),
    ]
}

/// Open and done runs in turn, as in a map that an earlier owner left: the committed offset is
/// open.
pub(crate) fn runs() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![3 => 1..5_u32, 1 => 1..150_u32], 0..20)
}

/// A map from these runs, decoded by the codec.
pub(crate) fn map(committed: u64, runs: &[u32]) -> DoneMap {
    let mut bytes = vec![b'e'];
    bytes.extend(runs.iter().flat_map(|run| run.to_be_bytes()));
    codec::decode(&base64(&bytes), committed, MAX_SPAN).unwrap()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) tracker: Tracker,
    span: u64,
    pub(crate) next: u64,
    pub(crate) open: BTreeSet<u64>,
    given_back: BTreeSet<u64>,
    pub(crate) restored: BTreeSet<u64>,
    /// Offsets that this owner completed.
    pub(crate) completed: BTreeSet<u64>,
    pub(crate) in_flight: Option<PendingCommit>,
    pub(crate) acknowledged: Option<PendingCommit>,
}

impl Model {
    pub(crate) fn new(done: DoneMap, span: u64) -> Self {
        let restored = done.ranges().flatten().collect();
        let next = done.committed();
        let tracker = Tracker::restore(done, Limits { span });
        let (open, given_back, completed) = Default::default();
        let mut model = Self {
            tracker,
            span,
            next,
            open,
            given_back,
            restored,
            completed,
            in_flight: None,
            acknowledged: None,
        };
        model.follow();
        model
    }

    pub(crate) fn low(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// Whether a message of this offset need not run again.
    pub(crate) fn is_done(&self, offset: u64) -> bool {
        !self.open.contains(&offset) && (offset < self.next || self.restored.contains(&offset))
    }

    /// One past the highest offset that is done; a gap does not count.
    fn end(&self) -> u64 {
        let highest = |set: &BTreeSet<u64>| set.last().map_or(0, |offset| offset + 1);
        highest(&self.completed).max(highest(&self.restored)).max(self.low())
    }

    pub(crate) fn finished(&self) -> BTreeSet<u64> {
        (self.low()..self.end()).filter(|offset| self.is_done(*offset)).collect()
    }

    fn follow(&mut self) {
        while self.open.is_empty() && self.restored.contains(&self.next) {
            self.next += 1;
        }
    }

    pub(crate) fn deliver(&mut self, offset: u64) -> Disposition {
        let answer = self.tracker.deliver(offset);
        let expected = if offset < self.next {
            if self.given_back.remove(&offset) {
                Disposition::New
            } else if self.open.contains(&offset) {
                Disposition::Open
            } else {
                Disposition::Done
            }
        } else if self.open.first().is_some_and(|low| offset - low >= self.span) {
            Disposition::Full
        } else {
            self.next = offset + 1;
            if self.restored.contains(&offset) {
                Disposition::Done
            } else {
                self.open.insert(offset);
                Disposition::New
            }
        };
        self.follow();
        assert_eq!(answer, expected, "delivery of {offset}");
        answer
    }

    pub(crate) fn complete(&mut self, offset: u64) -> bool {
        let was_open = self.open.remove(&offset);
        self.given_back.remove(&offset);
        if was_open {
            self.completed.insert(offset);
        }
        self.follow();
        assert_eq!(self.tracker.complete(offset), was_open, "completion of {offset}");
        assert!(!self.tracker.complete(offset), "a second time changes nothing");
        was_open
    }

    fn pick(&self, number: usize) -> Option<u64> {
        self.open.iter().nth(number % self.open.len().max(1)).copied()
    }

    pub(crate) fn run(&mut self, op: &Op) {
        match *op {
            Op::Deliver(gap) => {
                let _ = self.deliver(self.next + gap);
            }
            Op::Again(below) => {
                let _ = self.deliver(self.next.saturating_sub(below));
            }
            Op::Complete(number) => {
                let _ = self.pick(number).map(|offset| self.complete(offset));
            }
            Op::CompleteAny(offset) => {
                let _ = self.complete(self.low() + offset);
            }
            Op::GiveBack(number) => {
                if let Some(offset) = self.pick(number) {
                    assert!(self.tracker.give_back(offset));
                    self.given_back.insert(offset);
                }
                assert!(!self.tracker.give_back(self.next));
            }
            Op::Commit(limit) => self.next_commit(limit),
            Op::Acknowledge => {
                if let Some(commit) = self.in_flight.take() {
                    self.tracker.acknowledged(&commit);
                    self.acknowledged = Some(commit);
                }
            }
            Op::Refuse => {
                if let Some(commit) = self.in_flight.take() {
                    self.tracker.refused(&commit);
                    assert!(
                        self.tracker.clone().next_commit(4096).is_some(),
                        "the next commit contains everything again"
                    );
                }
            }
        }
        self.check();
    }

    fn next_commit(&mut self, limit: usize) {
        let bound = self.tracker.metadata_bound();
        let Some(commit) = self.tracker.next_commit(limit) else { return };
        assert!(self.in_flight.is_none(), "one commit in flight");
        assert_eq!(commit.offset, self.low());
        assert!(commit.metadata.len() <= limit);
        assert!(limit < bound || commit.left_out == 0);
        assert!(commit.left_out > 0 || commit.metadata.len() <= bound);
        let told: BTreeSet<u64> = codec::decode(&commit.metadata, commit.offset, MAX_SPAN)
            .unwrap()
            .ranges()
            .flatten()
            .collect();
        let finished = self.finished();
        assert!(told.is_subset(&finished), "told {told:?} of {finished:?}");
        assert_eq!(commit.left_out as usize, finished.len() - told.len());
        self.in_flight = Some(commit);
    }

    fn check(&self) {
        assert_eq!((self.tracker.low(), self.tracker.next()), (self.low(), self.next));
        assert_eq!(self.tracker.open(), self.open.len() as u64);
        assert_eq!(self.tracker.span(), self.next - self.low());
        assert_eq!(self.tracker.room(), self.span - (self.next - self.low()));
        assert_eq!(self.tracker.next_wanted(), self.given_back.first().copied());
    }
}
