//! How much may be open, and the two accounts that what is open is charged to.
//!
//! Work that can run and work that waits behind a failing key are charged apart. With one account, failing keys
//! would fill it in the end and close the intake for the healthy ones.

/// Bounds of a scheduler. A message counts from admission until its end, not until it is taken.
///
/// A message larger than a byte budget is admitted alone, else it could never run.
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
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            messages: 256_000,
            bytes: 192 << 20,
            lane_messages: 1_000,
            parked_messages: 64_000,
            parked_bytes: 64 << 20,
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
        self.messages + messages <= self.max_messages && (self.bytes + bytes <= self.max_bytes || is_alone)
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
