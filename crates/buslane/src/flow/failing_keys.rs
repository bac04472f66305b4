//! Keys whose last message was given up.
//!
//! Their next messages get a single attempt each until one succeeds. Otherwise the messages of a
//! poisoned key would pile up behind the full backoff of each.

use parking_lot::Mutex;
use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Keys remembered. The oldest is forgotten first, and gets full retries again.
const LIMIT: usize = 10_000;

/// The lanes of the failing keys of one bus.
#[derive(Default)]
pub(crate) struct FailingKeys {
    /// The size of the set. Every success reads it; 0, the usual value, spares the lock.
    len: AtomicUsize,
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    set: HashSet<u64>,
    age: VecDeque<u64>,
}

impl FailingKeys {
    pub(crate) fn contains(&self, lane: u64) -> bool {
        self.len.load(Relaxed) > 0 && self.lanes.lock().set.contains(&lane)
    }

    pub(crate) fn add(&self, lane: u64) {
        let mut lanes = self.lanes.lock();
        if lanes.set.insert(lane) {
            lanes.age.push_back(lane);
        }
        while lanes.age.len() > LIMIT {
            if let Some(oldest) = lanes.age.pop_front() {
                lanes.set.remove(&oldest);
            }
        }
        self.len.store(lanes.set.len(), Relaxed);
    }

    pub(crate) fn remove(&self, lane: u64) {
        if self.len.load(Relaxed) == 0 {
            return;
        }
        let mut lanes = self.lanes.lock();
        if lanes.set.remove(&lane) {
            lanes.age.retain(|other| *other != lane);
        }
        self.len.store(lanes.set.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d4_failing_keys_are_bounded_and_the_oldest_goes_first() {
        let keys = FailingKeys::default();
        assert!(!keys.contains(1));
        for lane in 0..=LIMIT as u64 {
            keys.add(lane);
            keys.add(lane);
        }
        assert!(!keys.contains(0));
        assert!(keys.contains(1) && keys.contains(LIMIT as u64));
        keys.remove(1);
        keys.remove(1);
        assert!(!keys.contains(1));
    }
}
