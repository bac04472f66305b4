//! The records of one partition, in order, bounded by number and bytes.
//!
//! The log knows no groups: the partition decides which records the log may drop.

use buslane_core::{Message, Record, Source};
use std::{collections::VecDeque, ops::Range, sync::Arc, time::SystemTime};

/// The timestamp of a record that is published now, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A record and the time at which its batch was published.
#[derive(Debug)]
pub(crate) struct StoredRecord {
    pub(crate) record: Record,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

impl StoredRecord {
    /// The message for a reader.
    #[inline]
    pub(crate) fn message(&self, source: &Arc<Source>, offset: u64) -> Message {
        self.record.clone().into_message(Arc::clone(source), offset, self.timestamp_ms)
    }
}

/// The bounds of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLimits {
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
    /// The size of the largest record.
    pub(crate) max_message_bytes: usize,
    /// Age from which records make room for new ones while no group reads.
    pub(crate) retention_ms: Option<i64>,
    /// Whether the oldest records make room for the bytes of new ones while no group reads.
    pub(crate) keeps_newest_bytes: bool,
}

#[derive(Debug)]
pub(crate) struct Log {
    /// The offset of the oldest record.
    base: u64,
    records: VecDeque<StoredRecord>,
    bytes: usize,
    pub(crate) limits: LogLimits,
}

impl Log {
    pub(crate) const fn new(limits: LogLimits) -> Self {
        Self { base: 0, records: VecDeque::new(), bytes: 0, limits }
    }

    /// The offset of the oldest record.
    pub(crate) const fn start(&self) -> u64 {
        self.base
    }

    /// The offset of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.records.len() < self.limits.max_messages && self.bytes + bytes <= self.limits.max_bytes
    }

    /// Appends a record of `bytes`, and returns its offset.
    pub(crate) fn push(&mut self, record: Record, bytes: usize, timestamp_ms: i64) -> u64 {
        let offset = self.end();
        self.bytes += bytes;
        self.records.push_back(StoredRecord { record, timestamp_ms });
        offset
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&StoredRecord> {
        self.records.get(usize::try_from(offset.checked_sub(self.base)?).ok()?)
    }

    /// The records of `offsets`, all of which must be in the log.
    #[expect(clippy::cast_possible_truncation, reason = "the distance of two offsets in the log")]
    pub(crate) fn range(&self, offsets: Range<u64>) -> impl Iterator<Item = (u64, &StoredRecord)> {
        let (start, end) =
            ((offsets.start - self.base) as usize, (offsets.end - self.base) as usize);
        (offsets.start..).zip(self.records.range(start..end))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &StoredRecord)> {
        (self.base..).zip(&self.records)
    }

    /// Drops the records below `offset`. Returns whether any were dropped.
    pub(crate) fn drop_below(&mut self, offset: u64) -> bool {
        let before = self.base;
        while self.base < offset && self.drop_oldest() {}
        self.base > before
    }

    /// Drops records that the topic's retention allows to drop, to make room for a record of
    /// `bytes`. Without a retention, drops none.
    pub(crate) fn make_room(&mut self, bytes: usize, now_ms: i64) {
        let is_beyond = |log: &Self| log.bytes + bytes > log.limits.max_bytes;
        while self.limits.keeps_newest_bytes && is_beyond(self) && self.drop_oldest() {}
        if let Some(retention) = self.limits.retention_ms {
            let oldest_kept = now_ms.saturating_sub(retention);
            while self.records.front().is_some_and(|stored| stored.timestamp_ms < oldest_kept)
                && self.drop_oldest()
            {}
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

    const LIMITS: LogLimits = LogLimits {
        max_messages: 3,
        max_bytes: 10,
        max_message_bytes: 10,
        retention_ms: None,
        keeps_newest_bytes: false,
    };

    #[test]
    fn m1_a_log_keeps_its_bounds_of_count_and_bytes() {
        let mut log = Log::new(LIMITS);
        for n in 0..3 {
            log.make_room(2, 0);
            assert!(log.fits(2));
            assert_eq!(log.push(Record::new(vec![n; 2]), 2, 0), u64::from(n));
        }
        log.make_room(1, i64::MAX);
        assert_eq!(
            (log.start(), log.end(), log.fits(1)),
            (0, 3, false),
            "nothing makes room by itself"
        );
    }

    #[test]
    fn m1_a_log_with_a_retention_in_bytes_drops_its_oldest() {
        let mut log = Log::new(LogLimits { keeps_newest_bytes: true, max_messages: 100, ..LIMITS });
        for n in 0..7 {
            log.make_room(2, 0);
            log.push(Record::new(vec![n; 2]), 2, 0);
        }
        assert_eq!((log.start(), log.end()), (2, 7));
        log.make_room(9, 0);
        assert_eq!((log.start(), log.end()), (7, 7), "bytes push out as many as they need");
        assert!(log.fits(10) && log.get(6).is_none() && log.get(7).is_none());
    }

    #[test]
    fn m1_a_log_drops_what_is_too_old_and_what_it_is_told_to() {
        let mut log = Log::new(LogLimits {
            retention_ms: Some(50),
            max_messages: 100,
            max_bytes: 100,
            ..LIMITS
        });
        for n in 0..4 {
            log.push(Record::new("x"), 1, n * 30);
        }
        log.make_room(1, 100);
        assert_eq!(log.start(), 2);
        assert!(log.drop_below(3) && !log.drop_below(1));
        assert_eq!(
            log.iter().map(|(offset, stored)| (offset, stored.timestamp_ms)).collect::<Vec<_>>(),
            [(3, 90)]
        );
    }
}
