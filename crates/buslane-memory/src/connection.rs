//! Whether the broker can be reached: always, unless a fault says otherwise.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, futures::Notified};

/// Counts the changes: even is connected, odd is not.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    changes: AtomicU64,
    reason: Mutex<String>,
    changed: Notify,
}

impl Connection {
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.changes().is_multiple_of(2)
    }

    pub(crate) fn reason(&self) -> String {
        self.reason.lock().clone()
    }

    /// Resolves at the next change; enable it before looking.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Cuts the connection (`Some`) or restores it; whether that was a change.
    pub(crate) fn set(&self, cut: Option<&str>) -> bool {
        let mut reason = self.reason.lock();
        let change = self.is_up() == cut.is_some();
        if change {
            cut.unwrap_or_default().clone_into(&mut reason);
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        drop(reason);
        self.changed.notify_waiters();
        change
    }
}
