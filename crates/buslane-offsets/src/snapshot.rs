//! A partition's done and open offsets at one instant, from the commit point on: one view of the
//! tracker's ring and the restored map.

use crate::done_map::DoneMap;
use crate::ring::{Ring, low_bits};

/// Words that are compared at once; most neighbours are equal.
const WORDS_AT_ONCE: usize = 8;
/// Positions that are written without a branch; most words have no more.
const POSITIONS_AT_ONCE: usize = 4;

/// What a commit can say. Positions are relative to `low`.
pub(crate) struct CommitSnapshot<'a> {
    pub(crate) ring: &'a Ring,
    /// The commit point.
    pub(crate) low: u64,
    /// The ring describes `low..known`; a set bit is open.
    pub(crate) known: u64,
    /// The number of open offsets below `known`.
    pub(crate) open: u64,
    /// Describes the offsets at or above `known`.
    pub(crate) restored: &'a DoneMap,
}

impl CommitSnapshot<'_> {
    /// One past the last done position.
    pub(crate) fn len(&self) -> u64 {
        self.known.max(self.restored.end()) - self.low
    }

    /// The number of done positions.
    pub(crate) fn done(&self) -> u64 {
        let restored: u64 = self
            .restored
            .ranges_from(self.known)
            .map(|range| range.end - range.start.max(self.known))
            .sum();
        self.known - self.low - self.open + restored
    }

    /// Start and end of the first done runs, at most `most` of them.
    pub(crate) fn runs(&self, most: usize) -> Vec<u32> {
        let most = most * 2;
        // An open offset begins and ends at most one run each. The slack takes the positions that
        // `bit_positions` writes past its count.
        let mut bounds = vec![0; most.min(self.expected_bounds()) + 64 * WORDS_AT_ONCE];
        let mut end = 0;
        // Offsets before the commit point count as open.
        let (mut at, mut hidden) = (self.low - self.low % 64, (1 << (self.low % 64)) - 1);
        let mut before = u64::MAX;
        let words = self
            .ring
            .words_of(self.low, self.known)
            .into_iter()
            .flat_map(|words| words.chunks(WORDS_AT_ONCE));
        for words in words {
            if end >= most {
                break;
            }
            if words.iter().fold(0, |other, word| other | (word ^ before)) == 0 {
                at += 64 * words.len() as u64;
                hidden = 0;
                continue;
            }
            for word in words {
                let open = word | std::mem::take(&mut hidden);
                // A set bit of `changes` marks an offset that differs from the one before it.
                let changes =
                    (open ^ (open << 1 | before & 1)) & low_bits((self.known - at).min(64));
                end += bit_positions(changes, self.position(at), &mut bounds[end..]);
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
            // Done offsets on both sides of the seam form one run.
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

    /// The number of positions, their bit set (the lowest bit of a byte first, 1 is done), and the
    /// number of done ones. Ends with the last done position below `length`.
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
            set_bits(&mut bytes, from - self.low, range.end.min(end) - self.low);
        }
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        let last = bytes.last().copied().unwrap_or(0);
        let positions = (used as u64 * 8) - u64::from(last.leading_zeros()) * u64::from(used > 0);
        let done = if end - self.low == self.len() { self.done() } else { count_ones(&bytes) };
        (positions, bytes, done)
    }

    /// Two bounds for each open offset; the restored map may add more.
    fn expected_bounds(&self) -> usize {
        usize::try_from(self.open).unwrap_or(usize::MAX).saturating_mul(2)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a snapshot spans less than 2^31 offsets: see Limits and Builder"
    )]
    const fn position(&self, offset: u64) -> u32 {
        offset.wrapping_sub(self.low) as u32
    }
}

/// Writes the positions of the set bits, counted from `first`, and returns their number. Always
/// writes a few, because a processor cannot predict a branch on the number of set bits.
fn bit_positions(mut bits: u64, first: u32, into: &mut [u32]) -> usize {
    let count = bits.count_ones() as usize;
    for positions in into.as_chunks_mut::<POSITIONS_AT_ONCE>().0 {
        for position in positions {
            *position = first.wrapping_add(bits.trailing_zeros());
            bits &= bits.wrapping_sub(1);
        }
        if bits == 0 {
            break;
        }
    }
    count
}

fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 =
        words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// Sets the bits of `from..to`.
fn set_bits(bytes: &mut [u8], from: u64, to: u64) {
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
