//! Signals between a test and its handlers: gates and counts that replace sleeps.

use std::sync::{Condvar, Mutex, PoisonError};
use tokio::sync::watch;

/// A gate that is closed at first. Opening it releases the waiting tasks.
#[derive(Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    /// Opens the gate for present and future waiters.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the gate is open.
    pub async fn wait(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// A gate for handlers that block their thread.
#[derive(Debug, Default)]
pub struct Barrier {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Barrier {
    /// Opens the gate for present and future waiters.
    pub fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Blocks the thread until the gate is open, for at most half of
    /// [`LIMIT`](crate::deadline::LIMIT). Returns whether the gate is open.
    pub fn block(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = crate::deadline::LIMIT / 2;
        let waited = self.opened.wait_timeout_while(open, limit, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A counter that tasks can wait for.
#[derive(Debug)]
pub struct Count(watch::Sender<usize>);

impl Default for Count {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Count {
    /// Adds one, and returns the new count.
    pub fn add(&self) -> usize {
        let mut now = 0;
        self.0.send_modify(|count| {
            *count += 1;
            now = *count;
        });
        now
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until the count is at least `count`.
    pub async fn reached(&self, count: usize) {
        let _ = self.0.subscribe().wait_for(|now| *now >= count).await;
    }
}
