//! The answer to a stop: what came of the work between its call and its end.

use crate::Engine;
use buslane_core::{PoolStats, StopReport};
use std::time::Instant;

/// The moment at which a stop began.
#[derive(Debug)]
pub struct Stopping {
    began: Instant,
    before: PoolStats,
}

impl Stopping {
    /// Closes the engine, and remembers how it stood.
    #[must_use]
    pub fn begin(engine: &Engine) -> Self {
        let stopping = Self { began: Instant::now(), before: engine.stats() };
        engine.close();
        stopping
    }

    /// The report at the end, with the number of workers that did not come back.
    #[must_use]
    pub fn report(&self, engine: &Engine, stragglers: usize) -> StopReport {
        let ended = |stats: &PoolStats| stats.ok + stats.failed + stats.panicked;
        let after = engine.stats();
        StopReport {
            finished: ended(&after) - ended(&self.before),
            abandoned: after.abandoned - self.before.abandoned,
            stragglers,
            elapsed: self.began.elapsed(),
        }
    }
}
