//! Wakes the polling thread: messages, settlements, commands and answers to commits all end its
//! rest.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

/// One thread's alarm. A call before it rests ends its next rest at once, so none is lost.
#[derive(Default)]
pub(crate) struct Wake {
    thread: OnceLock<Thread>,
    rung: AtomicBool,
}

impl Wake {
    /// Says that the calling thread is the one that rests.
    pub(crate) fn own(&self) {
        let _ = self.thread.set(thread::current());
    }

    pub(crate) fn wake(&self) {
        if !self.rung.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Rests until it is woken, at most `patience`.
    pub(crate) fn rest(&self, patience: Duration) {
        if !self.rung.load(Ordering::SeqCst) {
            thread::park_timeout(patience);
        }
        self.rung.store(false, Ordering::SeqCst);
    }
}
