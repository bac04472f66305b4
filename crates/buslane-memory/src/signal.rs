//! What the members of a group wait on, and what the group counts of settlements that came too
//! late.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, futures::Notified};

#[derive(Debug, Default)]
pub(crate) struct Signal {
    changed: Notify,
    late: AtomicU64,
}

impl Signal {
    /// Something changed: members look again.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Resolves at the next change; enable it before looking, or a change in between is missed.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }
}
