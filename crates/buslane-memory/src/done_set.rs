//! The done offsets of a group in one partition: one bit for each offset above the lowest open one.
//!
//! Pure: no lock, no clock, no broker. Offsets above a gap stay done, so that their messages do not
//! run again after a reassignment, and the committed offset never passes an open one.
//!
//! `buslane_offsets::Tracker` does not serve here. It completes one offset at a time, and counts an
//! offset that was never delivered as done. A broker adds whole words of settlements, and keeps
//! every offset until its group has settled it.

use std::collections::VecDeque;

/// Bits of a word.
pub(crate) const WORD: u64 = 64;

/// The done offsets of one group in one partition.
#[derive(Debug, Clone)]
pub(crate) struct DoneSet {
    /// The number of the first word, which covers the offsets from `first * 64` on.
    first: u64,
    /// A set bit is a done offset. Never empty; the first word is never full.
    words: VecDeque<u64>,
}

impl DoneSet {
    /// A set in which exactly the offsets below `start` are done.
    pub(crate) fn new(start: u64) -> Self {
        Self { first: start / WORD, words: VecDeque::from([(1 << (start % WORD)) - 1]) }
    }

    /// The lowest open offset: all offsets below it are done.
    pub(crate) fn committed(&self) -> u64 {
        self.first * WORD + u64::from(self.words[0].trailing_ones())
    }

    /// The number of done offsets above [`DoneSet::committed`].
    pub(crate) fn done_ahead(&self) -> u64 {
        let done: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        done - u64::from(self.words[0].trailing_ones())
    }

    /// The number of the word that holds [`DoneSet::committed`].
    pub(crate) const fn first_word(&self) -> u64 {
        self.first
    }

    /// The first open offset at or above `from`.
    pub(crate) fn next_open(&self, from: u64) -> u64 {
        let mut offset = from.max(self.committed());
        while let Some(word) = self.word(offset / WORD) {
            let open = !word >> (offset % WORD);
            if open != 0 {
                return offset + u64::from(open.trailing_zeros());
            }
            offset = (offset / WORD + 1) * WORD;
        }
        offset
    }

    /// Whether every offset at or above `from` is open.
    pub(crate) fn is_open_from(&self, from: u64) -> bool {
        let last = self.first + self.words.len() as u64 - 1;
        match from / WORD {
            word if word > last => true,
            word if word < last => false,
            _ => self.words[self.words.len() - 1] >> (from % WORD) == 0,
        }
    }

    /// Marks one offset as done. Returns whether it was open.
    pub(crate) fn done(&mut self, offset: u64) -> bool {
        self.done_bits(offset / WORD, 1 << (offset % WORD)) == 1
    }

    /// Marks the offsets of the set bits of a word as done. Returns the number of those that were
    /// open.
    pub(crate) fn done_bits(&mut self, word: u64, bits: u64) -> u32 {
        let Some(at) = word.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else {
            return 0;
        };
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let fresh = bits & !self.words[at];
        self.words[at] |= fresh;
        self.shift();
        fresh.count_ones()
    }

    fn word(&self, number: u64) -> Option<u64> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.words.get(at).copied()
    }

    fn shift(&mut self) {
        while self.words[0] == u64::MAX {
            self.words.pop_front();
            self.first += 1;
            if self.words.is_empty() {
                self.words.push_back(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn d2_committed_is_the_lowest_open_offset() {
        let mut set = DoneSet::new(70);
        assert_eq!(set.committed(), 70);
        assert!(set.done(72));
        assert!(!set.done(72), "a second time changes nothing");
        assert!(!set.done(3), "an offset below the start is done already");
        assert_eq!((set.committed(), set.next_open(70), set.next_open(71)), (70, 70, 71));
        assert!(set.done(70));
        assert_eq!((set.committed(), set.next_open(72)), (71, 73));
        assert!(set.done(71));
        assert_eq!(set.committed(), 73);
        assert_eq!(set.next_open(1_000_000), 1_000_000);
    }

    proptest! {
        /// Completions in any order, compared with a plain set. The committed offset is the lowest
        /// open one and never decreases, and a new owner reads exactly the open offsets.
        #[test]
        fn d2_any_order_of_completion(start in 0_u64..200, offsets in prop::collection::vec(0_u64..400, 0..600)) {
            let mut set = DoneSet::new(start);
            let mut model = BTreeSet::new();
            let mut before = set.committed();
            for offset in offsets {
                let offset = start + offset;
                prop_assert_eq!(set.done(offset), model.insert(offset));
                let lowest = (start..).find(|at| !model.contains(at)).unwrap();
                prop_assert_eq!(set.committed(), lowest);
                prop_assert_eq!(set.first_word(), lowest / WORD);
                prop_assert_eq!(set.done_ahead(), model.iter().filter(|at| **at > lowest).count() as u64);
                prop_assert!(lowest >= before);
                before = lowest;
                let highest = model.last().copied().unwrap_or_default();
                prop_assert!(set.is_open_from(highest + 1) && !set.is_open_from(highest));
            }
            let mut read = Vec::new();
            let mut next = set.next_open(0);
            while next < start + 450 {
                read.push(next);
                next = set.next_open(next + 1);
            }
            let open: Vec<u64> = (start..start + 450).filter(|at| !model.contains(at)).collect();
            prop_assert_eq!(read, open);
        }

        #[test]
        fn d2_whole_words_count_each_offset_once(words in prop::collection::vec((0_u64..6, any::<u64>()), 0..40)) {
            let (mut set, mut single) = (DoneSet::new(5), DoneSet::new(5));
            for (word, bits) in words {
                let each = (0..WORD).filter(|bit| bits >> bit & 1 == 1 && single.done(word * WORD + bit)).count();
                prop_assert_eq!(set.done_bits(word, bits) as usize, each);
                prop_assert_eq!(set.committed(), single.committed());
            }
        }
    }
}
