//! The uncollected settlements of an assignment: two rings of atomic words, with one bit for each
//! offset.
//!
//! A settlement sets a bit and takes no lock. The cursor's `DoneSet` collects the bits under the
//! partition's lock. Sealing sets the bits of all open offsets, so that a later settlement finds
//! its bit taken and counts as late. A ring allocates its chunks on demand, so that an idle
//! partition takes little memory.

use crate::done_set::WORD;
use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// The number of words in a chunk.
const CHUNK: usize = 64;

#[derive(Debug)]
pub(crate) struct SettlementWindow {
    words: usize,
    done: SettlementRing,
    /// Deliveries that were abandoned.
    back: SettlementRing,
    /// Whether `back` may hold a bit.
    any_back: AtomicBool,
}

#[derive(Debug)]
struct SettlementRing(Box<[OnceLock<Box<[AtomicU64; CHUNK]>>]>);

impl SettlementRing {
    fn new(words: usize) -> Self {
        Self((0..words.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect())
    }

    #[inline]
    fn word(&self, slot: usize) -> &AtomicU64 {
        let chunk =
            self.0[slot / CHUNK].get_or_init(|| Box::new([const { AtomicU64::new(0) }; CHUNK]));
        &chunk[slot % CHUNK]
    }

    /// Whether no bit of the word is set.
    fn is_empty_at(&self, slot: usize) -> bool {
        self.0[slot / CHUNK]
            .get()
            .is_none_or(|chunk| chunk[slot % CHUNK].load(Ordering::SeqCst) == 0)
    }
}

impl SettlementWindow {
    /// A window of at least `span` offsets, rounded up to a power of two of words.
    pub(crate) fn new(span: usize) -> Self {
        let words = span.div_ceil(64).next_power_of_two();
        Self {
            words,
            done: SettlementRing::new(words),
            back: SettlementRing::new(words),
            any_back: AtomicBool::new(false),
        }
    }

    /// Allocates the chunks of `words`. Must be called before the deliveries of these words are
    /// handed out, and under the lock of the collector, so that the collector sees the chunk of
    /// each settlement.
    pub(crate) fn prepare(&self, words: std::ops::Range<u64>) {
        for word in words.clone().step_by(CHUNK).chain(words.end.checked_sub(1)) {
            self.done.word(self.slot(word));
        }
    }

    /// The first offset that must not be handed out while `first_word` is the first word of the
    /// `DoneSet`, because its bit would be that of an open offset.
    pub(crate) fn end(&self, first_word: u64) -> u64 {
        (first_word + self.words as u64) * WORD
    }

    /// Marks `offset` as done. Returns `false` when the window is sealed.
    #[inline]
    pub(crate) fn done(&self, offset: u64) -> bool {
        let bit = 1 << (offset % WORD);
        // SeqCst, because the load of the attention flag that follows must not be reordered before
        // this (see `Assignment::settle`).
        self.done.word(self.slot(offset / WORD)).fetch_or(bit, Ordering::SeqCst) & bit == 0
    }

    /// Marks `offset` as abandoned. Returns `false` when the window is sealed.
    pub(crate) fn back(&self, offset: u64) -> bool {
        let bit = 1 << (offset % WORD);
        let fresh =
            self.back.word(self.slot(offset / WORD)).fetch_or(bit, Ordering::SeqCst) & bit == 0;
        self.any_back.store(true, Ordering::SeqCst);
        fresh
    }

    /// Takes the settlements of `words`. Calls `each` for each word that has any, with the word's
    /// number, its done bits and its abandoned bits.
    pub(crate) fn collect(&self, words: std::ops::Range<u64>, each: impl FnMut(u64, u64, u64)) {
        self.take(words, 0, self.any_back.swap(false, Ordering::SeqCst), each);
    }

    /// Collects for the last time. Further settlements of these words are late.
    pub(crate) fn seal(&self, words: std::ops::Range<u64>, each: impl FnMut(u64, u64, u64)) {
        self.take(words, u64::MAX, true, each);
    }

    fn take(
        &self,
        words: std::ops::Range<u64>,
        leave: u64,
        back_too: bool,
        mut each: impl FnMut(u64, u64, u64),
    ) {
        for word in words {
            let slot = self.slot(word);
            let take = |ring: &SettlementRing| {
                // A load first, because most words have no new bits, and a load leaves the cache
                // line shared.
                if leave == 0 && ring.is_empty_at(slot) {
                    return 0;
                }
                ring.word(slot).swap(leave, Ordering::SeqCst)
            };
            let done = take(&self.done);
            let back = if back_too { take(&self.back) } else { 0 };
            if done | back != 0 {
                each(word, done, back);
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the length of the ring")]
    fn slot(&self, word: u64) -> usize {
        word as usize & (self.words - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(window: &SettlementWindow, words: std::ops::Range<u64>) -> Vec<(u64, u64, u64)> {
        let mut seen = Vec::new();
        window.collect(words, |word, done, back| seen.push((word, done, back)));
        seen
    }

    #[test]
    fn d1_each_settlement_is_collected_once() {
        let window = SettlementWindow::new(256);
        assert_eq!((window.end(0), window.end(3)), (256, 448));
        assert!(window.done(64 * 7 + 1));
        assert!(window.back(64 * 9));
        assert_eq!(collected(&window, 7..10), [(7, 2, 0), (9, 0, 1)]);
        assert_eq!(collected(&window, 7..10), []);
    }

    #[test]
    fn k3_after_sealing_a_settlement_is_late() {
        let window = SettlementWindow::new(64);
        assert!(window.done(3));
        let mut seen = Vec::new();
        window.seal(0..1, |word, done, back| seen.push((word, done, back)));
        assert_eq!(seen, [(0, 8, 0)]);
        assert!(!window.done(4));
        assert!(!window.back(5));
    }
}
