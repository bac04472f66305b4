//! Publish times of a few messages of a partition. They are enough for the age of a backlog,
//! without one timestamp for each message.

use std::collections::VecDeque;

/// The largest number of entries. A further entry first removes every second one.
const ENTRIES: usize = 1_024;

/// Offsets with the time at which their message was published, in ascending order.
#[derive(Debug, Default)]
pub(super) struct TimestampIndex(VecDeque<(u64, i64)>);

impl TimestampIndex {
    /// Adds the first message of a batch. Ignores offsets below the last entry.
    pub(super) fn add(&mut self, offset: u64, timestamp_ms: i64) {
        if self.0.back().is_some_and(|(last, _)| offset <= *last) {
            return;
        }
        if self.0.len() == ENTRIES {
            let mut keep = false;
            self.0.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.0.push_back((offset, timestamp_ms));
    }

    /// The publish time of the first message in the batch of `low`. Removes older entries.
    pub(super) fn at(&mut self, low: u64) -> Option<i64> {
        while self.0.get(1).is_some_and(|(next, _)| *next <= low) {
            self.0.pop_front();
        }
        self.0.front().map(|(_, timestamp_ms)| *timestamp_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES, TimestampIndex};

    #[test]
    fn k8_the_entry_at_or_below_an_offset_counts() {
        let mut index = TimestampIndex::default();
        assert_eq!(index.at(0), None);
        for offset in [10, 20, 30, 25] {
            index.add(offset, 1_000 + i64::try_from(offset).expect("small"));
        }
        assert_eq!(
            [5, 10, 11, 25, 30, 31].map(|low| index.at(low)),
            [1_010, 1_010, 1_010, 1_020, 1_030, 1_030].map(Some)
        );
    }

    #[test]
    fn k8_entries_are_bounded() {
        let mut index = TimestampIndex::default();
        (0..100_000).for_each(|offset| index.add(offset, 0));
        assert!(index.0.len() <= ENTRIES);
        assert_eq!((index.0.front(), index.0.back()), (Some(&(0, 0)), Some(&(99_999, 0))));
    }
}
