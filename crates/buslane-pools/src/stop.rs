//! Stopping once, whoever asks how often, and what came of the work meanwhile.

use crate::Engine;
use buslane_core::{BoxFuture, PoolStats, StopReport};
use parking_lot::Mutex;
use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Instant,
};
use tokio::sync::watch;

/// A stop that is begun once, and answers every caller.
#[derive(Default)]
pub(crate) struct StopOnce {
    /// Set before the stop begins. Not behind the lock: `begin` runs under it and takes others.
    has_begun: AtomicBool,
    answer: Mutex<Option<watch::Receiver<Option<StopReport>>>>,
}

impl StopOnce {
    /// Whether it has begun, or is about to.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(SeqCst)
    }

    /// Begins the stop unless it has begun, and waits for its report.
    ///
    /// # Cancel safety
    /// Once begun the stop goes on when the caller's future is dropped: it has a task of its own.
    pub(crate) fn run<F>(&self, begin: impl FnOnce() -> F) -> BoxFuture<'static, StopReport>
    where
        F: Future<Output = StopReport> + Send + 'static,
    {
        let begin = || {
            let (done, answer) = watch::channel(None);
            let stopped = begin();
            tokio::spawn(async move { done.send(Some(stopped.await)) });
            answer
        };
        self.has_begun.store(true, SeqCst);
        let mut answer = self.answer.lock().get_or_insert_with(begin).clone();
        Box::pin(async move {
            let report = answer.wait_for(Option::is_some).await;
            report.ok().and_then(|report| *report).unwrap_or_default()
        })
    }
}

/// The moment at which the stop of an engine began.
pub(crate) struct Stopping {
    began: Instant,
    before: PoolStats,
}

impl Stopping {
    /// Closes the engine, and remembers its figures.
    pub(crate) fn begin(engine: &Engine) -> Self {
        let stopping = Self { began: Instant::now(), before: engine.stats() };
        engine.close();
        stopping
    }

    /// The report at the end, with the number of workers that did not return.
    pub(crate) fn report(&self, engine: &Engine, stragglers: usize) -> StopReport {
        let after = engine.stats();
        StopReport {
            finished: ended(&after) - ended(&self.before),
            abandoned: after.abandoned - self.before.abandoned,
            stragglers,
            elapsed: self.began.elapsed(),
        }
    }
}

/// Jobs that ended, abandoned ones not among them.
pub(crate) const fn ended(stats: &PoolStats) -> u64 {
    stats.ok + stats.failed + stats.panicked
}
