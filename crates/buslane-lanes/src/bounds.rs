//! How much may be open in a scheduler, and which bound refused a message.

use std::time::Duration;

/// Bounds of a scheduler. A message counts from its admission until its end, not until it is taken.
///
/// A message larger than a byte budget is admitted alone; otherwise it could never run.
///
/// The last two bounds limit how much is remembered of keys without a message.
///
/// ```
/// use buslane_lanes::Bounds;
///
/// let bounds = Bounds { messages: 10_000, lane_messages: 100, ..Bounds::default() };
/// assert_eq!(bounds.bytes, 192 << 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Messages that can run. Default: 256,000.
    pub messages: usize,
    /// Bytes of the messages that can run. Default: 192 MiB.
    pub bytes: usize,
    /// Messages of one lane. Default: 1,000.
    pub lane_messages: usize,
    /// Messages that wait behind failing keys, in addition to those that can run. Default: 64,000.
    pub failing_messages: usize,
    /// Bytes of the messages that wait behind failing keys. Default: 64 MiB.
    pub failing_bytes: usize,
    /// Keys whose state is kept, those with messages included. Beyond this number the longest idle
    /// key is forgotten; a key with a message never is. Default: 10,000.
    pub keys: usize,
    /// Longest time for which the state of a key without messages is kept. The state is dropped in
    /// the last eighth of this time. Default: 5 min.
    pub key_idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            messages: 256_000,
            bytes: 192 << 20,
            lane_messages: 1_000,
            failing_messages: 64_000,
            failing_bytes: 64 << 20,
            keys: 10_000,
            key_idle: Duration::from_secs(300),
        }
    }
}

/// Which bound refused a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// [`Bounds::lane_messages`].
    LaneFull,
    /// [`Bounds::messages`] or [`Bounds::bytes`].
    Full,
    /// [`Bounds::failing_messages`] or [`Bounds::failing_bytes`]: the message's lane waits for a
    /// retry.
    FailingFull,
    /// The limit of active keys, and the message's key is not active.
    KeysFull,
    /// None: the scheduler is closed.
    Closed,
}
