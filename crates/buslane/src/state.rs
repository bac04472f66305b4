//! The state that a bus records about its work. The flow writes it; health, status and shutdown
//! read it, without a dependency on the flow.

mod blocked;
mod sources;
mod stalls;

pub use blocked::BlockedKey;
pub(crate) use blocked::{BlockedEntry, BlockedKeys, BlockedSnapshot};
pub(crate) use sources::{SourceState, Sources};
pub use stalls::StalledPartition;
pub(crate) use stalls::{Stalls, Waiting};

use buslane_core::Message;
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio_util::sync::CancellationToken;

/// The recorded state of one bus.
pub(crate) struct BusState {
    pub(crate) sources: Sources,
    pub(crate) stalls: Stalls,
    pub(crate) blocked: Arc<BlockedKeys>,
    /// Why the last dead letter was not written; `None` after one was written. Meaningful only
    /// while a key is blocked.
    pub(crate) unwritable: Mutex<Option<String>>,
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

/// Held by a task that must not end while the bus is open. Health reports a task that does.
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

/// Unfinished keys with a name.
const UNFINISHED_NAMED: usize = 10;

/// The keys whose messages a shutdown leaves for redelivery: the first of them by name, for its log
/// line. The report of the shutdown counts the messages. Filled while the pool stops.
#[derive(Default)]
pub(crate) struct UnfinishedKeys(Mutex<UnfinishedNames>);

#[derive(Default)]
struct UnfinishedNames {
    keys: Vec<String>,
    are_more: bool,
}

impl UnfinishedKeys {
    /// Notes the key of a message that is left for redelivery.
    pub(crate) fn note(&self, message: &Message) {
        let mut named = self.0.lock();
        if named.are_more {
            return;
        }
        let key = format!("{} key {}", message.source, message.label_excerpt());
        if !named.keys.contains(&key) {
            named.are_more = named.keys.len() == UNFINISHED_NAMED;
            if !named.are_more {
                named.keys.push(key);
            }
        }
    }
}

impl fmt::Display for UnfinishedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.lock();
        f.write_str(&named.keys.join(", "))?;
        f.write_str(if named.are_more { " and more" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buslane_core::{Route, Topic};

    #[test]
    fn b9_what_is_left_is_named_up_to_a_number() {
        let unfinished = UnfinishedKeys::default();
        let note = |n| {
            let mut message = Message::new(Topic::new("a").unwrap(), "x");
            message.route = Route::RoundRobin(n);
            unfinished.note(&message);
        };
        (0..2).chain(0..2).for_each(note);
        assert_eq!(unfinished.to_string(), "a/0 key rr-0, a/0 key rr-1");
        (0..=UNFINISHED_NAMED as u64).for_each(note);
        assert!(unfinished.to_string().ends_with("a/0 key rr-9 and more"), "{unfinished}");
    }
}
