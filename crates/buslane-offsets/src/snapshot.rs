//! What there is to say about a partition at one instant: done and open from the commit point on.
//! It reads the tracker's ring and the restored map as one, and changes neither.

use crate::done::DoneMap;
use crate::ring::{Ring, low_bits};

/// How many words are looked at together: mostly they are all alike.
const AT_ONCE: usize = 8;
/// How many bits of a word are expected.
const FORESEEN: usize = 4;

/// Positions are relative to `low`.
pub(crate) struct Picture<'a> {
    pub(crate) ring: &'a Ring,
    /// The commit point.
    pub(crate) low: u64,
    /// The ring speaks for `low..known`, a set bit is open.
    pub(crate) known: u64,
    /// How many offsets of the ring are open below `known`.
    pub(crate) open: u64,
    /// Speaks for what is at or above `known`.
    pub(crate) restored: &'a DoneMap,
}

impl Picture<'_> {
    /// One past the last done position.
    pub(crate) fn len(&self) -> u64 {
        self.known.max(self.restored.end()) - self.low
    }

    /// How many positions are done.
    pub(crate) fn done(&self) -> u64 {
        let restored: u64 = self
            .restored
            .ranges_from(self.known)
            .map(|range| range.end - range.start.max(self.known))
            .sum();
        self.known - self.low - self.open + restored
    }

    /// The done runs from the front, `most` at most: where done begins and ends, in turn.
    pub(crate) fn runs(&self, most: usize) -> Vec<u32> {
        let most = most * 2;
        // Each open offset begins and ends a run at most; a few more are written than there are.
        let mut bounds = vec![0; most.min(self.expected_bounds()) + 64 * AT_ONCE];
        let mut end = 0;
        // What stands before the commit point counts as open.
        let (mut at, mut hidden) = (self.low - self.low % 64, (1 << (self.low % 64)) - 1);
        let mut before = u64::MAX;
        let words = self
            .ring
            .words_of(self.low, self.known)
            .into_iter()
            .flat_map(|words| words.chunks(AT_ONCE));
        for words in words {
            if end >= most {
                break;
            }
            if words.iter().fold(0, |other, word| other | (word ^ before)) == 0 {
                at += 64 * words.len() as u64;
                continue;
            }
            for word in words {
                let open = word | std::mem::take(&mut hidden);
                // A bit of `turns` says that this offset and the one before it differ.
                let turns = (open ^ (open << 1 | before & 1)) & low_bits((self.known - at).min(64));
                end += places(turns, self.position(at), &mut bounds[end..]);
                before = 0_u64.wrapping_sub(open >> 63);
                at += 64;
            }
        }
        bounds.truncate(end);
        if bounds.len() % 2 == 1 {
            bounds.push(self.position(self.known));
        }
        for range in self.restored.ranges_from(self.known) {
            if bounds.len() >= most {
                break;
            }
            let start = self.position(range.start.max(self.known));
            // What is done on both sides of the seam is one run.
            if bounds.last() == Some(&start) {
                bounds.pop();
            } else {
                bounds.push(start);
            }
            bounds.push(self.position(range.end));
        }
        bounds.truncate(most);
        bounds
    }

    /// A bit a position, the lowest bit of a byte first, 1 is done; and how many are. Ends with the
    /// last done position below `length`; the number of positions comes first.
    pub(crate) fn bits(&self, length: u64) -> (u64, Vec<u8>, u64) {
        let end = self.low + length.min(self.len());
        let size = usize::try_from((end - self.low).div_ceil(64) * 8).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(size);
        let known = end.min(self.known);
        for (at, open) in (self.low..known).step_by(64).zip(self.ring.words_from(self.low)) {
            bytes.extend_from_slice(&(!open & low_bits((known - at).min(64))).to_le_bytes());
        }
        bytes.resize(size, 0);
        let mut from = self.known;
        for range in self.restored.ranges_from(self.known).take_while(|range| range.start < end) {
            from = from.max(range.start);
            fill(&mut bytes, from - self.low, range.end.min(end) - self.low);
        }
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        let last = bytes.last().copied().unwrap_or(0);
        let positions = (used as u64 * 8) - u64::from(last.leading_zeros()) * u64::from(used > 0);
        let done = if end - self.low == self.len() { self.done() } else { ones(&bytes) };
        (positions, bytes, done)
    }

    /// Room for the bounds: two for each open offset, and more when the restored map has any.
    fn expected_bounds(&self) -> usize {
        usize::try_from(self.open).unwrap_or(usize::MAX).saturating_mul(2)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a picture spans less than 2^31 offsets: see Limits and Builder"
    )]
    const fn position(&self, offset: u64) -> u32 {
        offset.wrapping_sub(self.low) as u32
    }
}

/// Writes the places of the bits that are set, counted from `first`, and says how many they are. A
/// few are written in any case: whether there are any is what a processor cannot foresee.
fn places(mut bits: u64, first: u32, into: &mut [u32]) -> usize {
    let count = bits.count_ones() as usize;
    for places in into.as_chunks_mut::<FORESEEN>().0 {
        for place in places {
            *place = first.wrapping_add(bits.trailing_zeros());
            bits &= bits.wrapping_sub(1);
        }
        if bits == 0 {
            break;
        }
    }
    count
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 =
        words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// Sets the bits of `from..to`.
fn fill(bytes: &mut [u8], from: u64, to: u64) {
    let mut at = from;
    while at < to {
        let Some(byte) = usize::try_from(at / 8).ok().and_then(|index| bytes.get_mut(index)) else {
            return;
        };
        let count = (8 - at % 8).min(to - at);
        *byte |= (u8::MAX >> (8 - count)) << (at % 8);
        at += count;
    }
}
