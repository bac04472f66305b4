//! The job that each worker is running, for observers. The duration is not recorded: an observer
//! that reads twice sees that the same attempt is still running.
//!
//! A worker writes only its own slot, so an attempt costs four stores to a cache line that no other
//! worker writes.

use buslane_core::RunningJob;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// The slot of a worker: the number of begun and ended attempts, which is odd while one runs, and
/// the message of the attempt.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct RunningSlot {
    turns: AtomicU64,
    source: AtomicU64,
    offset: AtomicU64,
}

impl RunningSlot {
    pub(crate) fn begin(&self, source: u64, offset: u64) {
        self.source.store(source, Relaxed);
        self.offset.store(offset, Relaxed);
        // Odd, even if the attempt before was cut off.
        self.turns.store((self.turns.load(Relaxed) + 1) | 1, Release);
    }

    pub(crate) fn end(&self) {
        let turns = self.turns.load(Relaxed);
        self.turns.store(turns + (turns & 1), Release);
    }

    fn look(&self, worker: usize) -> Option<RunningJob> {
        let turns = self.turns.load(Acquire);
        if turns & 1 == 0 {
            return None;
        }
        let (source, offset) = (self.source.load(Relaxed), self.offset.load(Relaxed));
        // An attempt that ends during this read is no longer running.
        (self.turns.load(Acquire) == turns).then_some(RunningJob {
            worker,
            attempt: turns / 2 + 1,
            source,
            offset,
        })
    }
}

/// The slots of an engine's workers.
pub(crate) struct RunningSlots(Box<[RunningSlot]>);

impl RunningSlots {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| RunningSlot::default()).collect())
    }

    /// The slot of a worker; `None` if the index is out of range.
    pub(crate) fn of(&self, worker: usize) -> Option<&RunningSlot> {
        self.0.get(worker)
    }

    pub(crate) fn jobs(&self) -> Vec<RunningJob> {
        self.0.iter().enumerate().filter_map(|(worker, slot)| slot.look(worker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_a_slot_shows_the_attempt_that_runs() {
        let slots = RunningSlots::new(2);
        let slot = slots.of(1).unwrap();
        assert!(slots.jobs().is_empty() && slots.of(2).is_none());
        for attempt in 1..=3 {
            slot.begin(7, attempt * 10);
            let running = RunningJob { worker: 1, attempt, source: 7, offset: attempt * 10 };
            assert_eq!(slots.jobs(), [running]);
            slot.end();
            slot.end();
            assert!(slots.jobs().is_empty());
        }
        // Cut off, and begun again.
        slot.begin(7, 1);
        slot.begin(8, 2);
        assert_eq!(slots.jobs(), [RunningJob { worker: 1, attempt: 5, source: 8, offset: 2 }]);
    }
}
