//! Ending a bus: stop reading, drain the lanes, settle, flush, close.

use super::{Inner, drained::subscribed};
use crate::BusError;
use buslane_core::{Backend, PoolStats, excerpt};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{field::display, info, warn};

/// The result of a shutdown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Messages that ended during the shutdown and were settled.
    pub finished: u64,
    /// Messages that were left for redelivery.
    pub abandoned: u64,
    /// Unsettled messages that the memory broker held for the topics of this bus, `abandoned`
    /// included: they are lost with the process. 0 on Kafka and NATS, which keep them for the next
    /// member. [`EventBus::drained`](super::EventBus::drained) before the shutdown waits for them.
    pub unhandled: u64,
    /// Handlers that did not end even when they were cancelled: they block their thread.
    pub stragglers: usize,
    /// The error of the broker, where it did not close in order.
    pub broker_error: Option<String>,
    /// The time that the shutdown took.
    pub elapsed: Duration,
}

type Answer = watch::Receiver<Option<ShutdownReport>>;

/// The progress of a bus's shutdown.
pub(super) struct Closing {
    begun: AtomicBool,
    /// The lanes are drained, and publishing has ended.
    drained: AtomicBool,
    answer: Mutex<Option<Answer>>,
    /// Cancelled when the broker is closed, or the bus is dropped.
    ended: DropGuard,
}

impl Closing {
    pub(super) fn new() -> Self {
        Self {
            begun: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            answer: Mutex::new(None),
            ended: CancellationToken::new().drop_guard(),
        }
    }

    /// Cancelled when the broker is closed, or the bus is dropped.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.token().clone()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Relaxed)
    }
}

/// The work of [`EventBus::shutdown`].
///
/// [`EventBus::shutdown`]: super::EventBus::shutdown
pub(super) async fn shutdown(
    inner: &Arc<Inner>,
    deadline: Duration,
) -> Result<ShutdownReport, BusError> {
    let mut answer = {
        let mut slot = inner.closing.answer.lock();
        slot.get_or_insert_with(|| {
            let (done, answer) = watch::channel(None);
            // Before the task is spawned: messages that end until it runs belong to the shutdown.
            let (started, before) = (Instant::now(), inner.flow.pool.stats());
            inner.closing.begun.store(true, Relaxed);
            let inner = Arc::clone(inner);
            let closing = async move { run(&inner, started, before, deadline).await };
            tokio::spawn(async move { done.send_replace(Some(closing.await)) });
            answer
        })
        .clone()
    };
    let report = answer.wait_for(Option::is_some).await.map_err(|_| BusError::Closed)?;
    Ok(report.clone().unwrap_or_default())
}

/// The messages that end with this bus: those of a memory broker.
async fn unhandled(inner: &Inner) -> u64 {
    if inner.broker.backend() != Backend::Memory {
        return 0;
    }
    let progress = inner.broker.progress(&subscribed(inner)).await;
    progress.map_or(0, |all| all.iter().map(|of| of.open).sum())
}

async fn run(
    inner: &Inner,
    started: Instant,
    before: PoolStats,
    deadline: Duration,
) -> ShutdownReport {
    let left = || deadline.saturating_sub(started.elapsed());
    // The token comes first: a source that ends without it counts as revoked, and its queued
    // messages would be dropped.
    inner.flow.state.reading.cancel();
    inner.broker.stop_reading().await;
    let pool = inner.flow.pool.stop(left()).await;
    inner.closing.drained.store(true, Relaxed);
    let unhandled = unhandled(inner).await;
    inner.flow.registry.clear();
    let closed = inner.broker.close(left().max(Duration::from_secs(1))).await;
    inner.closing.ended().cancel();
    inner.tasks.close();
    inner.tasks.wait().await;
    let after = inner.flow.pool.stats();
    let report = ShutdownReport {
        finished: (after.ok + after.failed + after.panicked)
            - (before.ok + before.failed + before.panicked),
        abandoned: after.abandoned - before.abandoned,
        unhandled,
        stragglers: pool.stragglers,
        broker_error: closed.err().map(|error| error.to_string()),
        elapsed: started.elapsed(),
    };
    if report.unhandled > 0 {
        warn!(
            messages = report.unhandled,
            "messages of the memory broker are not handled and end with the process"
        );
    }
    if report.abandoned == 0 && report.stragglers == 0 && report.broker_error.is_none() {
        info!(finished = report.finished, seconds = report.elapsed.as_secs_f64(), "bus closed");
    } else {
        let ShutdownReport { finished, abandoned, stragglers, broker_error, elapsed, .. } = &report;
        let (seconds, left) = (elapsed.as_secs_f64(), &inner.flow.state.unfinished);
        let broker_error = broker_error.as_ref().map(|error| display(excerpt::error(error)));
        warn!(finished, abandoned, %left, stragglers, broker_error, seconds, "bus closed with work left for redelivery");
    }
    report
}
