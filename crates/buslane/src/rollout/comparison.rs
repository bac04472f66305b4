//! What comparing handlers with their twins came to, in one bus. It decides nothing.

use super::status::ShadowStatus;
use crate::{clock::now, metrics::ShadowMetrics};
use buslane_core::{Outcome, Source, excerpt};
use buslane_pools::Recorder;
use parking_lot::Mutex;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tracing::warn;

/// Shortest time between two lines that tell of a difference.
const PAUSE: Duration = Duration::from_secs(1);

/// What one of the two came to.
pub(crate) struct Ended {
    result: Result<(), String>,
    took: Duration,
}

impl Ended {
    /// None for what has not ended: a job that was dropped.
    pub(crate) fn of(outcome: &Outcome, took: Duration) -> Option<Self> {
        let result = match outcome {
            Outcome::Ok => Ok(()),
            Outcome::Failed(error) => Err(format!("failed: {error}")),
            Outcome::Panicked(text) => Err(format!("panicked: {text}")),
            Outcome::Abandoned => return None,
        };
        Some(Self { result, took })
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.result.as_ref().map_or_else(String::as_str, |()| "ok"))
    }
}

/// The comparisons of one bus: counted, and told of where they differ.
pub(crate) struct Comparison {
    same: AtomicU64,
    different: AtomicU64,
    dropped: AtomicU64,
    handlers: Recorder,
    twins: Recorder,
    metrics: ShadowMetrics,
    told: Mutex<Told>,
}

/// Of differences: when the last was told of, and how many were not since.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    untold: u64,
}

impl Comparison {
    pub(crate) fn new(metrics: ShadowMetrics) -> Self {
        Self {
            same: AtomicU64::new(0),
            different: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            handlers: Recorder::new(),
            twins: Recorder::new(),
            metrics,
            told: Mutex::default(),
        }
    }

    /// Both have ended. A failure is like any other failure, and like a panic: texts may differ
    /// from run to run.
    pub(crate) fn compare(&self, source: &Source, offset: u64, handler: &Ended, twin: &Ended) {
        self.handlers.record(handler.took);
        self.twins.record(twin.took);
        self.metrics.handler.record(handler.took.as_secs_f64());
        self.metrics.twin.record(twin.took.as_secs_f64());
        if handler.result.is_ok() == twin.result.is_ok() {
            self.same.fetch_add(1, Relaxed);
            self.metrics.same.increment(1);
        } else {
            self.different.fetch_add(1, Relaxed);
            self.metrics.different.increment(1);
            self.tell(source, offset, handler, twin);
        }
    }

    /// A message will not be compared: there was no room for its twin, or one of the two will not
    /// end.
    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
        self.metrics.dropped.increment(1);
    }

    #[cold]
    fn tell(&self, source: &Source, offset: u64, handler: &Ended, twin: &Ended) {
        let untold = {
            let (mut told, now) = (self.told.lock(), now());
            if told.at.is_some_and(|at| now - at < PAUSE) {
                told.untold += 1;
                return;
            }
            told.at = Some(now);
            std::mem::take(&mut told.untold)
        };
        let (topic, partition) = (source.topic.as_str(), source.partition);
        let [handler, twin] = [handler, twin].map(excerpt::error);
        warn!(topic, partition, offset, %handler, %twin, untold, "twin differs from its handler");
    }

    /// None while there is nothing to tell.
    pub(super) fn status(&self) -> Option<ShadowStatus> {
        let [same, different, dropped] =
            [&self.same, &self.different, &self.dropped].map(|count| count.load(Relaxed));
        let p99_ms = |recorder: &Recorder| {
            recorder.counts().quantile(0.99).map(|latency| latency.as_secs_f64() * 1_000.0)
        };
        (same + different + dropped > 0).then(|| ShadowStatus {
            compared: same + different,
            different,
            dropped,
            handler_p99_ms: p99_ms(&self.handlers),
            twin_p99_ms: p99_ms(&self.twins),
        })
    }
}
