//! The sources that are read, and what the pump of each is doing. For whoever looks from outside: a
//! pump writes here once a batch.

use buslane_core::Source;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

/// One source that is read.
pub(crate) struct Watched {
    pub(crate) source: Arc<Source>,
    /// Messages that were taken from it.
    taken: AtomicU64,
    /// Its pump waits for messages, and for nothing else.
    waits: AtomicBool,
    /// Its topic has no handler.
    is_held: AtomicBool,
}

impl Watched {
    pub(super) fn waits(&self, waits: bool) {
        self.waits.store(waits, Relaxed);
    }

    pub(super) fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Relaxed);
    }

    pub(super) fn took(&self, messages: u64) {
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

/// All of a bus, by the number of the source.
#[derive(Default)]
pub(crate) struct Sources(Mutex<HashMap<u64, Arc<Watched>>>);

/// A source as long as its pump runs.
pub(super) struct Reading<'a> {
    sources: &'a Sources,
    pub(super) watched: Arc<Watched>,
}

impl Sources {
    pub(super) fn begin(&self, source: &Arc<Source>) -> Reading<'_> {
        let watched = Arc::new(Watched {
            source: Arc::clone(source),
            taken: 0.into(),
            waits: false.into(),
            is_held: false.into(),
        });
        self.0.lock().insert(source.id(), Arc::clone(&watched));
        Reading { sources: self, watched }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Watched>> {
        self.0.lock().values().cloned().collect()
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.sources.0.lock().remove(&self.watched.source.id());
    }
}
