//! Looking at a partition: for tests, for operators, and for the text of an error. Settles nothing.

use super::Partition;
use crate::log::{Limits, Stored};

/// Where a group stands in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: u32,
    /// Offset of the oldest record that is held.
    pub start: u64,
    /// Offset that the next record gets.
    pub end: u64,
    /// Lowest offset that the group has not settled.
    pub committed: u64,
    /// Deliveries handed out and not settled.
    pub open: u64,
    /// Records above the lowest unsettled one that are settled.
    pub done_ahead: u64,
}

impl Position {
    /// Records from the lowest unsettled one to the end, settled ones above it included.
    #[must_use]
    pub const fn lag(&self) -> u64 {
        self.end - self.committed
    }
}

impl Partition {
    /// Where a group stands, all settlements so far counted.
    pub(crate) fn position(&self, group: u64) -> Option<Position> {
        let mut state = self.state.lock();
        state.collect();
        let (start, end) = (state.log.start(), state.log.end());
        let partition = self.index;
        state.cursor(group).map(|cursor| Position {
            partition,
            start,
            end,
            committed: cursor.committed(),
            open: cursor.open(),
            done_ahead: cursor.done_ahead(),
        })
    }

    /// When the lowest record was published that a group has not settled, in milliseconds since the
    /// Unix epoch.
    pub(crate) fn oldest_unsettled(&self, group: u64) -> Option<i64> {
        let mut state = self.state.lock();
        state.collect();
        let committed = state.cursor(group)?.committed();
        Some(state.log.get(committed)?.timestamp_ms)
    }

    /// The records held, in order.
    pub(crate) fn read_all(&self, mut each: impl FnMut(u64, &Stored)) {
        self.state.lock().log.iter().for_each(|(offset, stored)| each(offset, stored));
    }

    /// What a publisher waits for, for its error.
    pub(crate) fn describe_full(&self) -> String {
        let mut state = self.state.lock();
        state.collect();
        let held = state.log.end() - state.log.start();
        let slowest = state.cursors.iter().min_by_key(|cursor| cursor.committed()).map_or_else(
            || {
                "no group reads it, so nothing makes room: subscribe to it, or give it a retention"
                    .to_owned()
            },
            |cursor| {
                format!(
                    "group {} has not settled offset {}, {} open",
                    cursor.group_name,
                    cursor.committed(),
                    cursor.open()
                )
            },
        );
        let Limits { max_messages, max_bytes, .. } = state.log.limits;
        format!(
            "partition {} is full with {held} records of at most {max_messages}, {max_bytes} bytes; {slowest}",
            self.index
        )
    }
}
