//! Compares handlers with their twins: counts the outcomes and logs the differences.
//!
//! It has no influence on messages, guard or plan.

use super::report::ShadowStatus;
use crate::{metrics::ShadowMetrics, process::now};
use buslane_core::{Outcome, Source, excerpt};
use buslane_pools::LatencyRecorder;
use parking_lot::Mutex;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tracing::warn;

/// The shortest time between two log lines about differences.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The outcome of a handler or its twin.
pub(crate) struct ShadowOutcome {
    result: Result<(), String>,
    took: Duration,
}

impl ShadowOutcome {
    /// `None` for a job that was dropped before it ended.
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

impl fmt::Display for ShadowOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.result.as_ref().map_or_else(String::as_str, |()| "ok"))
    }
}

/// The comparisons of one bus.
pub(crate) struct ShadowComparison {
    same: AtomicU64,
    different: AtomicU64,
    dropped: AtomicU64,
    handlers: LatencyRecorder,
    twins: LatencyRecorder,
    metrics: ShadowMetrics,
    log: Mutex<LogLimit>,
}

/// Limits the log: when a difference was last logged, and how many were suppressed since.
#[derive(Default)]
struct LogLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl ShadowComparison {
    pub(crate) fn new(metrics: ShadowMetrics) -> Self {
        Self {
            same: AtomicU64::new(0),
            different: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            handlers: LatencyRecorder::new(),
            twins: LatencyRecorder::new(),
            metrics,
            log: Mutex::default(),
        }
    }

    /// Counts a message that both have ended. A failure and a panic count as the same: their texts
    /// may differ from run to run.
    pub(crate) fn compare(
        &self,
        source: &Source,
        offset: u64,
        handler: &ShadowOutcome,
        twin: &ShadowOutcome,
    ) {
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
            self.log(source, offset, handler, twin);
        }
    }

    /// Counts a message that cannot be compared: there was no room for its twin, or one of the two
    /// was dropped.
    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
        self.metrics.dropped.increment(1);
    }

    #[cold]
    fn log(&self, source: &Source, offset: u64, handler: &ShadowOutcome, twin: &ShadowOutcome) {
        let untold = {
            let (mut log, now) = (self.log.lock(), now());
            if log.last.is_some_and(|last| now - last < LOG_INTERVAL) {
                log.suppressed += 1;
                return;
            }
            log.last = Some(now);
            std::mem::take(&mut log.suppressed)
        };
        let (topic, partition) = (source.topic.as_str(), source.partition);
        let [handler, twin] = [handler, twin].map(excerpt::error);
        warn!(topic, partition, offset, %handler, %twin, untold, "twin differs from its handler");
    }

    /// `None` before the first message.
    pub(super) fn status(&self) -> Option<ShadowStatus> {
        let [same, different, dropped] =
            [&self.same, &self.different, &self.dropped].map(|count| count.load(Relaxed));
        let p99_ms = |recorder: &LatencyRecorder| {
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
