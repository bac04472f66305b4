//! Checks the two promises of a lane: messages run in order and one at a time.

use buslane_core::Message;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Records the messages that the handlers of a test run, by key.
///
/// The first message of a key has sequence 1. A message may run again, as after a redelivery, but
/// not after a later message of its key.
#[derive(Debug)]
pub struct Recorder {
    keys: Box<[Key]>,
    handled: AtomicU64,
    violations: AtomicU64,
}

#[derive(Debug, Default)]
struct Key {
    highest: AtomicU64,
    busy: AtomicBool,
}

impl Recorder {
    /// A recorder of the keys below `keys`.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let keys = (0..keys).map(|_| Key::default()).collect();
        Self { keys, handled: AtomicU64::new(0), violations: AtomicU64::new(0) }
    }

    /// Begins to run a [stamped](stamp) message. Dropping the visit ends the run.
    pub fn visit(&self, message: &Message) -> Visit<'_> {
        let (key, sequence) = key_and_sequence(message);
        let entry = &self.keys[usize::try_from(key).expect("keys are small")];
        let second = entry.busy.swap(true, SeqCst);
        let before = entry.highest.fetch_max(sequence, SeqCst);
        if second || before > sequence {
            self.violations.fetch_add(1, SeqCst);
        }
        Visit { recorder: self, key: entry }
    }

    /// The number of messages that were handled.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.handled.load(SeqCst)
    }

    /// The number of messages that ran out of order, or concurrently with another message of their
    /// key.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.violations.load(SeqCst)
    }

    /// The highest sequence of a key so far.
    #[must_use]
    pub fn highest(&self, key: usize) -> u64 {
        self.keys[key].highest.load(SeqCst)
    }
}

/// A message that is running.
#[derive(Debug)]
pub struct Visit<'a> {
    recorder: &'a Recorder,
    key: &'a Key,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.key.busy.store(false, SeqCst);
        self.recorder.handled.fetch_add(1, SeqCst);
    }
}

/// Writes the key into the payload of a message, and the sequence within the key into its offset.
pub fn stamp(message: &mut Message, key: u64, sequence: u64) {
    message.payload = Bytes::copy_from_slice(&key.to_le_bytes());
    message.offset = sequence;
}

/// The key and the sequence that [`stamp`] wrote.
///
/// # Panics
/// For a message without a stamp.
#[must_use]
pub fn key_and_sequence(message: &Message) -> (u64, u64) {
    let key = message.payload.first_chunk().copied().expect("a stamped message");
    (u64::from_le_bytes(key), message.offset)
}
