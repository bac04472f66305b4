//! What each worker is running, for somebody who looks from outside. Not how long: whoever looks
//! twice sees that the same attempt is still there.
//!
//! A worker writes its own seat and nobody else's, so an attempt costs it four stores to a cache
//! line of its own.

use buslane_core::RunningJob;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// One worker's seat: attempts begun and ended, which is odd while one runs, and whose message it
/// is.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Seat {
    turns: AtomicU64,
    source: AtomicU64,
    offset: AtomicU64,
}

impl Seat {
    pub(crate) fn begin(&self, source: u64, offset: u64) {
        self.source.store(source, Relaxed);
        self.offset.store(offset, Relaxed);
        // Odd, also where an attempt before was cut off.
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
        // One that changes while it is looked at is not stuck.
        (self.turns.load(Acquire) == turns).then_some(RunningJob {
            worker,
            attempt: turns / 2 + 1,
            source,
            offset,
        })
    }
}

/// The seats of an engine.
pub(crate) struct Seats(Box<[Seat]>);

impl Seats {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Seat::default()).collect())
    }

    /// The seat of a worker; `None` for one that the engine does not know.
    pub(crate) fn of(&self, worker: usize) -> Option<&Seat> {
        self.0.get(worker)
    }

    pub(crate) fn running(&self) -> Vec<RunningJob> {
        self.0.iter().enumerate().filter_map(|(worker, seat)| seat.look(worker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_a_seat_shows_the_attempt_that_runs() {
        let seats = Seats::new(2);
        let seat = seats.of(1).unwrap();
        assert!(seats.running().is_empty() && seats.of(2).is_none());
        for attempt in 1..=3 {
            seat.begin(7, attempt * 10);
            let running = RunningJob { worker: 1, attempt, source: 7, offset: attempt * 10 };
            assert_eq!(seats.running(), [running]);
            seat.end();
            seat.end();
            assert!(seats.running().is_empty());
        }
        // Cut off, and begun again.
        seat.begin(7, 1);
        seat.begin(8, 2);
        assert_eq!(seats.running(), [RunningJob { worker: 1, attempt: 5, source: 8, offset: 2 }]);
    }
}
