//! The sources that a bus reads, and the state of their pumps. A pump writes here once a batch.

use buslane_core::Source;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

/// A source that is read, and the state of its pump.
pub(crate) struct SourceState {
    pub(crate) source: Arc<Source>,
    /// Messages taken from the source.
    taken: AtomicU64,
    /// Whether the pump waits for messages, and for nothing else.
    waits: AtomicBool,
    /// Whether the messages are held, because the topic has no handler.
    is_held: AtomicBool,
}

impl SourceState {
    pub(crate) fn waits(&self, waits: bool) {
        self.waits.store(waits, Relaxed);
    }

    pub(crate) fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Relaxed);
    }

    pub(crate) fn took(&self, messages: u64) {
        self.waits(false);
        self.taken.fetch_add(messages, Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waits.load(Relaxed)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Relaxed)
    }
}

/// The sources of a bus, by their ids.
#[derive(Default)]
pub(crate) struct Sources(Mutex<HashMap<u64, Arc<SourceState>>>);

/// Registers a source while its pump runs.
///
/// # Drop behaviour
/// The source is no longer read.
pub(crate) struct Reading<'a> {
    sources: &'a Sources,
    pub(crate) state: Arc<SourceState>,
}

impl Sources {
    pub(crate) fn begin(&self, source: &Arc<Source>) -> Reading<'_> {
        let state = Arc::new(SourceState {
            source: Arc::clone(source),
            taken: 0.into(),
            waits: false.into(),
            is_held: false.into(),
        });
        self.0.lock().insert(source.id(), Arc::clone(&state));
        Reading { sources: self, state }
    }

    pub(crate) fn all(&self) -> Vec<Arc<SourceState>> {
        self.0.lock().values().cloned().collect()
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.sources.0.lock().remove(&self.state.source.id());
    }
}
