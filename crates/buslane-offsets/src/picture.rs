//! What there is to say about a partition at one instant: done and open from the commit point on. It reads the tracker's
//! ring and the restored map as one, and changes neither.

use crate::done::DoneMap;
use crate::ring::{Ring, low_bits};

/// Positions are relative to `low`.
pub(crate) struct Picture<'a> {
    pub(crate) ring: &'a Ring,
    /// The commit point.
    pub(crate) low: u64,
    /// The ring speaks for `low..known`, a set bit is open.
    pub(crate) known: u64,
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
        let restored: u64 =
            self.restored.ranges_from(self.known).map(|range| range.end - range.start.max(self.known)).sum();
        self.known - self.low - self.ring.count(self.low, self.known) + restored
    }

    /// The done runs from the front, `most` at most: where done begins and ends, in turn.
    pub(crate) fn runs(&self, most: usize) -> Vec<u32> {
        let mut bounds = Vec::new();
        let most = most * 2;
        let mut was_open = 1;
        let mut at = self.low;
        while at < self.known && bounds.len() < most {
            let count = (self.known - at).min(64);
            let open = self.ring.bits(at);
            // A bit of `turns` says that this offset and the one before it differ.
            let mut turns = (open ^ (open << 1 | was_open)) & low_bits(count);
            while turns != 0 {
                bounds.push(self.position(at + u64::from(turns.trailing_zeros())));
                turns &= turns - 1;
            }
            was_open = open >> (count - 1) & 1;
            at += count;
        }
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

    /// A bit a position, the lowest bit of a byte first, 1 is done; and how many are. Ends with the last done position
    /// below `length`; the number of positions comes first.
    pub(crate) fn bits(&self, length: u64) -> (u64, Vec<u8>, u64) {
        let end = self.low + length.min(self.len());
        let mut bytes = Vec::new();
        let mut at = self.low;
        while at < end {
            bytes.extend_from_slice(&self.done_bits(at, end).to_le_bytes());
            at += 64;
        }
        let mut from = self.known;
        for range in self.restored.ranges_from(self.known).take_while(|range| range.start < end) {
            from = from.max(range.start);
            fill(&mut bytes, from - self.low, range.end.min(end) - self.low);
        }
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        let last = bytes.last().copied().unwrap_or(0);
        let positions = (used as u64 * 8) - u64::from(last.leading_zeros()) * u64::from(used > 0);
        let done = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
        (positions, bytes, done)
    }

    /// What the ring says of up to 64 offsets.
    fn done_bits(&self, at: u64, end: u64) -> u64 {
        match end.min(self.known).checked_sub(at) {
            None | Some(0) => 0,
            Some(count) => !self.ring.bits(at) & low_bits(count.min(64)),
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a picture spans less than 2^31 offsets: see Limits and Builder"
    )]
    const fn position(&self, offset: u64) -> u32 {
        (offset - self.low) as u32
    }
}

/// Sets the bits of `from..to`.
fn fill(bytes: &mut [u8], from: u64, to: u64) {
    let mut at = from;
    while at < to {
        let Some(byte) = usize::try_from(at / 8).ok().and_then(|index| bytes.get_mut(index)) else { return };
        let count = (8 - at % 8).min(to - at);
        *byte |= (u8::MAX >> (8 - count)) << (at % 8);
        at += count;
    }
}
