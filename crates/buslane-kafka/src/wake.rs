//! Wakes the polling thread: messages, settlements, commands and commit answers all end its pause.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

/// Parks one thread. A wake-up before the thread parks ends its next pause at once, so no wake-up
/// is lost.
#[derive(Default)]
pub(crate) struct Wake {
    thread: OnceLock<Thread>,
    is_woken: AtomicBool,
}

impl Wake {
    /// Makes the calling thread the one that parks.
    pub(crate) fn bind(&self) {
        let _ = self.thread.set(thread::current());
    }

    pub(crate) fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Parks until the next wake-up, at most for `timeout`.
    pub(crate) fn park(&self, timeout: Duration) {
        if !self.is_woken.load(Ordering::SeqCst) {
            thread::park_timeout(timeout);
        }
        self.is_woken.store(false, Ordering::SeqCst);
    }
}
