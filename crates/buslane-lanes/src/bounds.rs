//! How much may be open, and the two accounts that what is open is charged to.
//!
//! Work that can run and work that waits behind a failing key are charged apart. With one account,
//! failing keys would fill it in the end and close the intake for the healthy ones.

use std::time::Duration;

/// Bounds of a scheduler. A message counts from admission until its end, not until it is taken.
///
/// A message larger than a byte budget is admitted alone, else it could never run.
///
/// The last two are about keys without a message: how much is remembered of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Messages that can run. Default: 256,000.
    pub messages: usize,
    /// Their bytes. Default: 192 MiB.
    pub bytes: usize,
    /// Messages of one lane. Default: 1,000.
    pub lane_messages: usize,
    /// Messages that wait behind failing keys, besides those that can run. Default: 64,000.
    pub parked_messages: usize,
    /// Their bytes. Default: 64 MiB.
    pub parked_bytes: usize,
    /// Keys whose state is kept, those with messages among them: beyond this the longest idle one
    /// is forgotten. A key with a message is never forgotten, however many there are. Default:
    /// 10,000.
    pub keys: usize,
    /// Longest time for which the state of a key without messages is kept; it goes in the last
    /// eighth of it. Default: 5 min.
    pub key_idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            messages: 256_000,
            bytes: 192 << 20,
            lane_messages: 1_000,
            parked_messages: 64_000,
            parked_bytes: 64 << 20,
            keys: 10_000,
            key_idle: Duration::from_secs(300),
        }
    }
}

/// Which bound refused a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The lane's own.
    LaneFull,
    /// That of the messages that can run.
    Full,
    /// That of the messages behind failing keys, of which this would be one.
    ParkedFull,
    /// As many keys are active as may be, and this message is of another one.
    KeysFull,
    /// The scheduler takes no more work.
    Closed,
}

/// Messages and bytes charged against a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl Account {
    pub(crate) const fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { messages: 0, bytes: 0, max_messages, max_bytes }
    }

    pub(crate) const fn max_messages(&self) -> usize {
        self.max_messages
    }

    pub(crate) const fn fits(&self, messages: usize, bytes: usize) -> bool {
        let is_alone = self.messages == 0 && messages == 1;
        self.messages + messages <= self.max_messages
            && (self.bytes + bytes <= self.max_bytes || is_alone)
    }

    pub(crate) const fn charge(&mut self, messages: usize, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes;
    }

    pub(crate) const fn release(&mut self, messages: usize, bytes: usize) {
        self.messages -= messages;
        self.bytes -= bytes;
    }
}
