//! A handler that checks the two promises of a lane: in order, and one at a time.

use buslane_core::Message;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// What the handlers of one test have seen, key by key.
///
/// The first message of a key has sequence 1. A message may come again, as after a redelivery; it
/// must not come after a later one of its key.
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
    /// Watches the keys 0 to `keys`.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let keys = (0..keys).map(|_| Key::default()).collect();
        Self { keys, handled: AtomicU64::new(0), violations: AtomicU64::new(0) }
    }

    /// Begins the handling of a message that was [stamped](stamp); it ends when the visit is
    /// dropped.
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

    /// Messages that were handled.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.handled.load(SeqCst)
    }

    /// Messages that came out of order, or beside another of their key.
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

/// One message being handled.
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

/// Stamps a message with its key and its sequence within the key: payload and offset.
pub fn stamp(message: &mut Message, key: u64, sequence: u64) {
    message.payload = Bytes::copy_from_slice(&key.to_le_bytes());
    message.offset = sequence;
}

/// Reads what [`stamp`] wrote.
///
/// # Panics
/// For a message without a stamp.
#[must_use]
pub fn key_and_sequence(message: &Message) -> (u64, u64) {
    let key = message.payload.first_chunk().copied().expect("a stamped message");
    (u64::from_le_bytes(key), message.offset)
}
