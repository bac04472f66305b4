//! What the members of a group wait for: changes of the group, and changes of the connection.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, futures::Notified};

/// Notifies the members of a group, and counts its late settlements.
#[derive(Debug, Default)]
pub(crate) struct GroupSignal {
    changed: Notify,
    late: AtomicU64,
}

impl GroupSignal {
    /// Makes the members look for events again.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Resolves at the next change. Enable it before looking, or a change in between is missed.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Counts a settlement for a partition that had moved on.
    pub(crate) fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}

/// Whether the broker can be reached: always, unless a fault cuts the connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Even while connected, odd while cut.
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

    /// Resolves at the next change. Enable it before looking, or a change in between is missed.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Cuts the connection (`Some`) or restores it. Returns whether that changed it.
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
