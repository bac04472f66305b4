//! The content of commit metadata: which offsets above the committed one are done.

use std::ops::Range;

/// The done offsets above a committed one, as ranges. Offsets outside them are open or unknown.
///
/// Takes 8 bytes a range, whatever its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneMap {
    committed: u64,
    /// Start and end of each range, relative to `committed`. Strictly ascending.
    bounds: Vec<u32>,
}

impl DoneMap {
    /// A map without done offsets.
    pub const fn empty(committed: u64) -> Self {
        Self { committed, bounds: Vec::new() }
    }

    /// The offset that was committed with this map.
    pub const fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether no offset is done.
    pub const fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// One past the highest offset that is done; `committed` when there is none.
    pub fn end(&self) -> u64 {
        self.committed + u64::from(self.bounds.last().copied().unwrap_or(0))
    }

    /// The number of done offsets.
    pub fn done(&self) -> u64 {
        self.ranges().map(|range| range.end - range.start).sum()
    }

    /// Whether the map names this offset as done; `false` below the committed offset.
    #[inline]
    pub fn contains(&self, offset: u64) -> bool {
        self.range_at(offset).is_some()
    }

    /// The ranges of done offsets, in order. No range is empty or adjacent to another.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges_from(self.committed)
    }

    /// The ranges that end above `from`; the first may begin below it.
    pub(crate) fn ranges_from(&self, from: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let passed = self.passed(from) & !1;
        let absolute = |bound: u32| self.committed + u64::from(bound);
        self.bounds[passed..].chunks_exact(2).map(move |pair| absolute(pair[0])..absolute(pair[1]))
    }

    /// The number of ranges.
    pub(crate) const fn len(&self) -> usize {
        self.bounds.len() / 2
    }

    /// The range that holds this offset.
    #[inline]
    pub(crate) fn range_at(&self, offset: u64) -> Option<Range<u64>> {
        if self.bounds.is_empty() {
            return None;
        }
        self.ranges_from(offset).next().filter(|range| range.contains(&offset))
    }

    /// The number of bounds at or below this offset.
    fn passed(&self, offset: u64) -> usize {
        match offset.checked_sub(self.committed) {
            Some(position) => self.bounds.partition_point(|bound| u64::from(*bound) <= position),
            None => 0,
        }
    }
}

/// Builds a map from consecutive runs.
pub(crate) struct Builder {
    map: DoneMap,
    at: u64,
    limit: u64,
}

impl Builder {
    /// `limit` is the number of offsets that the map may span, at most 2^31 - 1, the most that the
    /// formats can express.
    pub(crate) fn new(committed: u64, limit: u64) -> Self {
        Self { map: DoneMap::empty(committed), at: 0, limit: limit.min(i32::MAX as u64) }
    }

    /// Appends `length` offsets that are all done or all open.
    pub(crate) fn run(&mut self, length: u64, is_done: bool) -> Result<(), MetadataError> {
        if length == 0 {
            return Ok(());
        }
        let end = self.at.saturating_add(length);
        let (Ok(from), Ok(to)) = (u32::try_from(self.at), u32::try_from(end)) else {
            return Err(MetadataError::TooLong { span: end, limit: self.limit });
        };
        // An offset that overflows is too long as well.
        if end > self.limit || self.map.committed.checked_add(end).is_none() {
            return Err(MetadataError::TooLong { span: end, limit: self.limit });
        }
        if is_done {
            // Adjacent runs are one range.
            match self.map.bounds.last_mut() {
                Some(last) if *last == from => *last = to,
                _ => self.map.bounds.extend([from, to]),
            }
        }
        self.at = end;
        Ok(())
    }

    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn finish(self) -> DoneMap {
        self.map
    }
}

/// Why [`decode`](crate::codec::decode) rejects metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Neither base64 nor, after a `%`, Z85.
    #[error("commit metadata is not base64, or not Z85 after a `%`")]
    Text,
    /// Metadata of Kafka Streams: a Streams application uses, or used, the group.
    #[error("commit metadata of Kafka Streams, version {version}")]
    KafkaStreams {
        /// The version byte: 1 or 2.
        version: u8,
    },
    /// The first byte names no format.
    #[error("commit metadata has an unknown format, byte {format:#04x}")]
    UnknownFormat {
        /// The first byte.
        format: u8,
    },
    /// It ends too early.
    #[error("commit metadata is truncated")]
    Truncated,
    /// A number is invalid: a negative length, or an open offset outside the map.
    #[error("commit metadata is malformed")]
    Malformed,
    /// The compressed part is damaged, or larger than a map of that span can be.
    #[error("the compressed part of the commit metadata is damaged or too large")]
    Compressed,
    /// It spans more offsets than allowed.
    #[error("commit metadata spans at least {span} offsets, and at most {limit} are allowed")]
    TooLong {
        /// The span, as far as it was read.
        span: u64,
        /// The largest span allowed.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_become_ranges() {
        let mut builder = Builder::new(100, 1_000);
        for (length, is_done) in
            [(2, false), (3, true), (0, false), (1, true), (4, false), (1, true), (5, false)]
        {
            builder.run(length, is_done).unwrap();
        }
        let map = builder.finish();
        assert_eq!(map.ranges().collect::<Vec<_>>(), [102..106, 110..111]);
        assert_eq!((map.end(), map.done(), map.len(), map.committed()), (111, 5, 2, 100));
        let done: Vec<u64> = (90..130).filter(|offset| map.contains(*offset)).collect();
        assert_eq!(done, [102, 103, 104, 105, 110]);
        assert_eq!(map.ranges_from(105).next(), Some(102..106));
        assert_eq!(map.ranges_from(106).next(), Some(110..111));
    }

    #[test]
    fn the_limit_holds() {
        let mut builder = Builder::new(u64::MAX - 5, u64::MAX);
        assert!(builder.run(5, true).is_ok());
        assert!(matches!(builder.run(1, true), Err(MetadataError::TooLong { .. })));
        let mut builder = Builder::new(0, 10);
        assert!(matches!(
            builder.run(11, false),
            Err(MetadataError::TooLong { span: 11, limit: 10 })
        ));
    }
}
