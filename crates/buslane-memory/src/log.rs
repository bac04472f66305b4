//! The records of one partition, in order, within a bound of count and bytes.
//!
//! Not aware of groups: the partition says what may be dropped.

use buslane_core::{Kind, Message, Record, Route, Source};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// A record and when its batch was published.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

impl Stored {
    /// The message that a reader gets of it.
    #[inline]
    pub(crate) fn message(&self, source: &Arc<Source>, offset: u64) -> Message {
        Message {
            source: Arc::clone(source),
            offset,
            timestamp_ms: self.timestamp_ms,
            key: self.record.key.clone(),
            headers: self.record.headers.clone(),
            payload: self.record.payload.clone(),
            route: Route::None,
            kind: Kind::Regular,
            attempt: 0,
        }
    }
}

/// How much a log holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
    /// For records that no group reads.
    pub(crate) retention_ms: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Log {
    /// Offset of the first record held.
    base: u64,
    records: VecDeque<Stored>,
    bytes: usize,
    pub(crate) limits: Limits,
}

impl Log {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { base: 0, records: VecDeque::new(), bytes: 0, limits }
    }

    /// Offset of the oldest record held.
    pub(crate) const fn start(&self) -> u64 {
        self.base
    }

    /// Offset that the next record gets.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.records.len() < self.limits.max_messages && self.bytes + bytes <= self.limits.max_bytes
    }

    /// Appends a record of `bytes`; returns its offset.
    pub(crate) fn push(&mut self, record: Record, bytes: usize, timestamp_ms: i64) -> u64 {
        let offset = self.end();
        self.bytes += bytes;
        self.records.push_back(Stored { record, timestamp_ms });
        offset
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Stored> {
        self.records.get(usize::try_from(offset.checked_sub(self.base)?).ok()?)
    }

    /// The records of `offsets`, which must all be held.
    #[expect(clippy::cast_possible_truncation, reason = "the distance of two offsets that are held")]
    pub(crate) fn range(&self, offsets: Range<u64>) -> impl Iterator<Item = (u64, &Stored)> {
        let (start, end) = ((offsets.start - self.base) as usize, (offsets.end - self.base) as usize);
        (offsets.start..).zip(self.records.range(start..end))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Stored)> {
        (self.base..).zip(&self.records)
    }

    /// Drops the records below `offset`; whether there were any.
    pub(crate) fn drop_below(&mut self, offset: u64) -> bool {
        let before = self.base;
        while self.base < offset && self.drop_oldest() {}
        self.base > before
    }

    /// Drops the oldest records until one of `bytes` fits and none is older than the retention.
    pub(crate) fn make_room(&mut self, bytes: usize, now_ms: i64) {
        while !self.fits(bytes) && self.drop_oldest() {}
        if let Some(retention) = self.limits.retention_ms {
            let oldest_kept = now_ms.saturating_sub(retention);
            while self.records.front().is_some_and(|stored| stored.timestamp_ms < oldest_kept) && self.drop_oldest() {}
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(stored) = self.records.pop_front() else { return false };
        self.bytes -= stored.record.bytes();
        self.base += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max_messages: usize, max_bytes: usize, retention_ms: Option<i64>) -> Log {
        Log::new(Limits { max_messages, max_bytes, retention_ms })
    }

    #[test]
    fn m1_a_log_keeps_its_bounds_of_count_and_bytes() {
        let mut log = log(3, 10, None);
        for n in 0..5 {
            log.make_room(2, 0);
            assert_eq!(log.push(Record::new(vec![n; 2]), 2, 0), u64::from(n));
        }
        assert_eq!((log.start(), log.end()), (2, 5));
        assert!(!log.fits(1));
        log.make_room(9, 0);
        assert_eq!((log.start(), log.end()), (5, 5), "bytes push out as many as they need");
        assert!(log.fits(10) && log.get(4).is_none() && log.get(5).is_none());
    }

    #[test]
    fn m1_a_log_drops_what_is_too_old_and_what_it_is_told_to() {
        let mut log = log(100, 100, Some(50));
        for n in 0..4 {
            log.push(Record::new("x"), 1, n * 30);
        }
        log.make_room(1, 100);
        assert_eq!(log.start(), 2);
        assert!(log.drop_below(3) && !log.drop_below(1));
        assert_eq!(log.iter().map(|(offset, stored)| (offset, stored.timestamp_ms)).collect::<Vec<_>>(), [(3, 90)]);
    }
}
