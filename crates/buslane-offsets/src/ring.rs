//! A ring of bits addressed by offset. The owner keeps track of the window of valid offsets; bits
//! outside it are zero.
//!
//! The window may begin and end in the same word, so a window of a power of two of offsets needs no
//! extra word.

/// Bits of a word.
const WORD: u64 = 64;

#[derive(Debug, Clone)]
pub(crate) struct Ring {
    /// The length is a power of two.
    words: Vec<u64>,
}

/// The lowest `count` bits, `count` in `1..=64`.
pub(crate) const fn low_bits(count: u64) -> u64 {
    u64::MAX >> (WORD - count)
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { words: vec![0] }
    }

    /// The largest window, in offsets.
    pub(crate) const fn capacity(&self) -> u64 {
        self.words.len() as u64 * WORD
    }

    #[inline]
    pub(crate) fn get(&self, offset: u64) -> bool {
        self.words[self.index(offset)] >> (offset % WORD) & 1 == 1
    }

    #[inline]
    pub(crate) fn set(&mut self, offset: u64) {
        let at = self.index(offset);
        self.words[at] |= 1 << (offset % WORD);
    }

    #[inline]
    pub(crate) fn clear(&mut self, offset: u64) {
        let at = self.index(offset);
        self.words[at] &= !(1 << (offset % WORD));
    }

    /// The bits of 64 offsets, starting at `offset`. Past the end of a full window, the bits of its
    /// beginning follow.
    #[inline]
    pub(crate) fn bits(&self, offset: u64) -> u64 {
        let (at, shift) = (self.index(offset), offset % WORD);
        if shift == 0 {
            return self.words[at];
        }
        self.words[at] >> shift | self.words[(at + 1) & (self.words.len() - 1)] << (WORD - shift)
    }

    /// The words that hold `from..to`, in order: those up to the end of the ring, then those from
    /// its beginning. The first and the last word may hold other offsets too, and may be the same
    /// word if the window is full.
    pub(crate) fn words_of(&self, from: u64, to: u64) -> [&[u64]; 2] {
        if from == to {
            return [&[], &[]];
        }
        let count = usize::try_from((to - 1) / WORD - from / WORD + 1).unwrap_or(usize::MAX);
        let ahead = &self.words[self.index(from)..];
        match count.checked_sub(ahead.len()) {
            Some(again) => [ahead, &self.words[..again]],
            None => [&ahead[..count], &[]],
        }
    }

    /// The bits from `offset` on, 64 at a time, without an end.
    #[inline]
    pub(crate) fn words_from(&self, offset: u64) -> impl Iterator<Item = u64> + '_ {
        let (mask, shift) = (self.words.len() - 1, offset % WORD);
        let mut at = self.index(offset);
        let mut word = self.words[at];
        std::iter::repeat_with(move || {
            at = (at + 1) & mask;
            let next = self.words[at];
            // Two shifts, because a shift by 64 bits is not defined.
            let bits = word >> shift | next << 1 << (WORD - 1 - shift);
            word = next;
            bits
        })
    }

    /// The first set bit at or above `from`. Loops forever when no bit is set.
    #[inline]
    pub(crate) fn next_set(&self, mut from: u64) -> u64 {
        loop {
            let bits = self.bits(from);
            if bits != 0 {
                return from + u64::from(bits.trailing_zeros());
            }
            from += WORD;
        }
    }

    /// Resizes the ring to a window of `span` offsets, and keeps the bits of `low..next`.
    pub(crate) fn resize(&mut self, span: u64, low: u64, next: u64) {
        let words =
            usize::try_from(span.div_ceil(WORD).max(1)).unwrap_or(usize::MAX).next_power_of_two();
        let old = std::mem::replace(self, Self { words: vec![0; words] });
        let mut at = low;
        while at < next {
            let count = (WORD - at % WORD).min(next - at);
            let index = self.index(at);
            self.words[index] |= (old.bits(at) & low_bits(count)) << (at % WORD);
            at += count;
        }
    }

    /// Counts the set bits of a range inside the window.
    pub(crate) fn count(&self, from: u64, to: u64) -> u64 {
        let left = (from..to).step_by(64).map(|at| WORD.min(to - at));
        self.words_from(from)
            .zip(left)
            .map(|(bits, count)| u64::from((bits & low_bits(count)).count_ones()))
            .sum()
    }

    #[allow(clippy::cast_possible_truncation, reason = "masked by the number of words")]
    const fn index(&self, offset: u64) -> usize {
        (offset / WORD) as usize & (self.words.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_may_begin_inside_a_word() {
        let mut ring = Ring::new();
        for offset in [70, 71, 133] {
            ring.set(offset);
        }
        assert!(ring.get(133) && !ring.get(72));
        assert_eq!(ring.bits(70) & 0b111, 0b011);
        assert_eq!(ring.next_set(72), 133);
        ring.resize(100, 70, 134);
        assert_eq!((ring.capacity(), ring.count(70, 134), ring.next_set(72)), (128, 3, 133));
        ring.clear(71);
        ring.resize(64, 70, 134);
        assert_eq!((ring.capacity(), ring.count(70, 134), ring.get(70)), (64, 2, true));
    }

    #[test]
    fn the_words_of_a_window_wrap_around() {
        let ring = Ring { words: vec![0, 1, 2, 3] };
        let words = |from, to| ring.words_of(from, to).concat();
        assert_eq!(words(70, 70), [0; 0]);
        assert_eq!(words(64, 65), [1]);
        assert_eq!(words(70, 192), [1, 2]);
        assert_eq!(words(70, 193), [1, 2, 3]);
        assert_eq!(words(192, 320), [3, 0]);
        assert_eq!(words(70, 70 + 256), [1, 2, 3, 0, 1]);
    }
}
