//! What a bus notes about its work while it runs. The flow writes it; health, the status and the
//! shutdown read it, without a way back into the flow.

mod blocked;
mod sources;
mod stalls;
mod unfinished;

pub use blocked::BlockedKey;
pub(crate) use blocked::{BlockedEntry, BlockedKeys, BlockedSnapshot};
pub(crate) use sources::{SourceState, Sources};
pub use stalls::StalledPartition;
pub(crate) use stalls::{Stalls, Waiting};
use unfinished::UnfinishedKeys;

use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio_util::sync::CancellationToken;

/// The notes of one bus.
pub(crate) struct BusState {
    pub(crate) sources: Sources,
    pub(crate) stalls: Stalls,
    pub(crate) blocked: Arc<BlockedKeys>,
    /// Why the last dead letter was not written; `None` once one was. Meaningless while no key is
    /// blocked.
    pub(crate) unwritable: Mutex<Option<String>>,
    /// Keys whose messages the shutdown leaves for redelivery.
    pub(crate) unfinished: UnfinishedKeys,
    /// Cancelled when reading ends for good.
    pub(crate) reading: CancellationToken,
    tasks_ended: AtomicUsize,
}

impl BusState {
    pub(crate) fn new(blocked: Arc<BlockedKeys>, reading: CancellationToken) -> Self {
        Self {
            sources: Sources::default(),
            stalls: Stalls::default(),
            blocked,
            unwritable: Mutex::default(),
            unfinished: UnfinishedKeys::default(),
            reading,
            tasks_ended: AtomicUsize::new(0),
        }
    }

    /// Tasks that ended although the bus is open.
    pub(crate) fn tasks_ended(&self) -> usize {
        self.tasks_ended.load(Relaxed)
    }
}

/// Held by a task that must not end while the bus is open: health reports one that does.
pub(crate) struct TaskGuard(Arc<BusState>);

impl TaskGuard {
    pub(crate) fn new(state: &Arc<BusState>) -> Self {
        Self(Arc::clone(state))
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if !self.0.reading.is_cancelled() {
            self.0.tasks_ended.fetch_add(1, Relaxed);
        }
    }
}
