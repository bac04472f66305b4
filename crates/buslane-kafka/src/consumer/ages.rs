//! When messages of a partition were published: a few marks for the lag in time, not a time for
//! each message.

use std::collections::VecDeque;

/// Marks kept; beyond this every second one goes.
const MARKS: usize = 1_024;

/// Offsets with the time at which their message was published, growing.
#[derive(Debug, Default)]
pub(super) struct Ages(VecDeque<(u64, i64)>);

impl Ages {
    /// The first message of a batch that was read.
    pub(super) fn add(&mut self, offset: u64, timestamp_ms: i64) {
        if self.0.back().is_some_and(|(last, _)| offset <= *last) {
            return;
        }
        if self.0.len() == MARKS {
            let mut keep = false;
            self.0.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.0.push_back((offset, timestamp_ms));
    }

    /// When the first message of the batch with `low` was published. Forgets what is older.
    pub(super) fn at(&mut self, low: u64) -> Option<i64> {
        while self.0.get(1).is_some_and(|(next, _)| *next <= low) {
            self.0.pop_front();
        }
        self.0.front().map(|(_, timestamp_ms)| *timestamp_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ages, MARKS};

    #[test]
    fn k8_the_mark_at_or_below_an_offset_counts() {
        let mut ages = Ages::default();
        assert_eq!(ages.at(0), None);
        for offset in [10, 20, 30, 25] {
            ages.add(offset, 1_000 + i64::try_from(offset).expect("small"));
        }
        assert_eq!(
            [5, 10, 11, 25, 30, 31].map(|low| ages.at(low)),
            [1_010, 1_010, 1_010, 1_020, 1_030, 1_030].map(Some)
        );
    }

    #[test]
    fn k8_marks_are_bounded() {
        let mut ages = Ages::default();
        (0..100_000).for_each(|offset| ages.add(offset, 0));
        assert!(ages.0.len() <= MARKS);
        assert_eq!((ages.0.front(), ages.0.back()), (Some(&(0, 0)), Some(&(99_999, 0))));
    }
}
