//! Parked keys: a key whose message is given up sets it and every later one aside, in the log of
//! its partition, until an operator redrives them.
//!
//! What is decided is in `buslane-parking`. Here is who carries it out: an [`Owner`] for each
//! partition that is read, which knows its parked keys before the first message is handled.

mod forget;
mod owner;
mod record;
mod tail;
mod work;

pub(crate) use owner::{Decision, Owner, ParkError};
pub(crate) use tail::{carry_out, own};
pub(crate) use work::first_of;

use arc_swap::ArcSwap;
use buslane_core::Source;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The owners of a bus.
#[derive(Default)]
pub(crate) struct Owners {
    /// By the number of the source: a snapshot that attempts load without a lock.
    by_source: ArcSwap<HashMap<u64, Arc<Owner>>>,
    /// Held during a change of the snapshot.
    changing: Mutex<()>,
    busy: Arc<AtomicUsize>,
}

impl Owners {
    /// Whether a message may have to be parked. While not, an attempt pays for one load.
    pub(crate) fn are_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }

    /// The owner of a source; none if its subscription parks no keys.
    pub(crate) fn of(&self, source: &Source) -> Option<Arc<Owner>> {
        self.by_source.load().get(&source.id()).cloned()
    }

    /// The owners that have not ended.
    pub(crate) fn live(&self) -> Vec<Arc<Owner>> {
        let owners = self.by_source.load();
        owners.values().filter(|owner| !owner.is_stopped()).cloned().collect()
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<u64, Arc<Owner>>)) {
        let _changing = self.changing.lock();
        let mut next = HashMap::clone(&self.by_source.load());
        change(&mut next);
        self.by_source.store(Arc::new(next));
    }

    fn begin(&self, owner: &Arc<Owner>) {
        self.change(|owners| {
            owners.retain(|_, owner| !owner.is_over());
            owners.insert(owner.source().id(), Arc::clone(owner));
        });
    }
}
