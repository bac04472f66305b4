//! Logs beside the partitions of a topic: what a bus sets aside, and reads again itself.

use super::{BrokerError, PublishError, Record};
use crate::{BoxFuture, Message};

/// The log of one partition. Its records have ascending positions, but not all of them: a position
/// may be missing. Several processes may append to it; who owns it is not its concern.
pub trait PartitionLog: Send + Sync + 'static {
    /// Appends a record, and returns its position once the broker has stored it as safely as a
    /// published record. Two calls keep their order if the first was answered before the second was
    /// made.
    ///
    /// # Errors
    /// As for a publish. The log may have the record although the answer is an error: once, or,
    /// if the call was repeated, more than once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it unknown whether the record was appended.
    fn append(&self, record: Record) -> BoxFuture<'_, Result<u64, PublishError>>;

    /// Reads the records from a position on, also those that are appended later.
    fn read(&self, from: u64) -> Box<dyn LogReader>;

    /// Forgets the records below a position. The broker may do so later, and may keep some.
    ///
    /// # Errors
    /// The broker is closed or out of reach, or this client may not do it.
    ///
    /// # Cancel safety
    /// The records may be forgotten although the call was cancelled.
    fn forget(&self, below: u64) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// Reads a log in the order of its positions.
///
/// # Drop behaviour
/// Dropping it ends the reading.
pub trait LogReader: Send {
    /// Waits for the next record, and appends it and up to `max` in all to `out`. The source of the
    /// messages is the log, and their offset is their position.
    ///
    /// # Errors
    /// The broker is closed or out of reach, or this client may not read the log. A later call
    /// continues.
    ///
    /// # Cancel safety
    /// Cancelling loses no record.
    fn next<'a>(
        &'a mut self,
        max: usize,
        out: &'a mut Vec<Message>,
    ) -> BoxFuture<'a, Result<(), BrokerError>>;
}
