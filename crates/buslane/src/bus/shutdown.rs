//! Ending a bus: stop reading, drain the lanes, settle, flush, close.

use super::{EventBus, Inner};
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

/// What a shutdown came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Messages that ended between the call and the end, and were settled.
    pub finished: u64,
    /// Messages that were left for redelivery.
    pub abandoned: u64,
    /// Messages that the memory broker held for the topics of this bus and that its group had not
    /// settled, those in `abandoned` included: they are gone with the process. 0 on Kafka and NATS,
    /// which keep them for the next member. [`EventBus::drained`] before the shutdown waits for
    /// them.
    pub unhandled: u64,
    /// Handlers that did not come back, not even from being cancelled: they block their thread.
    pub stragglers: usize,
    /// Why the broker did not close in order, if it did not.
    pub broker_error: Option<String>,
    /// Time it took.
    pub elapsed: Duration,
}

type Answer = watch::Receiver<Option<ShutdownReport>>;

/// How far the end of a bus is.
pub(super) struct Closing {
    begun: AtomicBool,
    /// Lanes are drained; nothing is published any more.
    drained: AtomicBool,
    answer: Mutex<Option<Answer>>,
    /// Nothing waits for an answer of the broker any more; or the bus was dropped.
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

    /// Cancelled at the end.
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

impl EventBus {
    /// Shuts the bus down within `deadline`: stops reading, runs what is queued, settles it, closes
    /// the broker and joins every task. What is left then is delivered again later. Handlers may
    /// publish until the lanes are drained.
    ///
    /// It does not wait for messages that the broker holds and no pump has read yet:
    /// [`EventBus::drained`] does. Kafka and NATS keep them for the next member of the group; with
    /// `memory://` they end with the process, and [`ShutdownReport::unhandled`] counts them.
    ///
    /// The deadline is kept by tasks of the runtime, like everything here. Handlers that block all
    /// of its threads, such as with `std::thread::sleep`, keep it from passing: this call does not
    /// return before one of them gives its thread back. Work that blocks belongs on
    /// `tokio::task::spawn_blocking`.
    ///
    /// Later and concurrent calls, also of [`EventBus::close`], wait for the first one and get its
    /// answer.
    ///
    /// # Errors
    /// [`BusError::Closed`] when the runtime ends before the shutdown does. A shutdown that did not
    /// go in order says so in the report.
    ///
    /// # Cancel safety
    /// Once begun it goes on when the caller's future is dropped.
    pub async fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, BusError> {
        let mut answer = {
            let mut slot = self.0.closing.answer.lock();
            slot.get_or_insert_with(|| {
                let (done, answer) = watch::channel(None);
                // Counted from here: what ends before the task begins belongs to the shutdown too.
                let (started, before) = (Instant::now(), self.0.flow.pool.stats());
                self.0.closing.begun.store(true, Relaxed);
                let inner = Arc::clone(&self.0);
                let closing = async move { inner.shut_down(started, before, deadline).await };
                tokio::spawn(async move { done.send_replace(Some(closing.await)) });
                answer
            })
            .clone()
        };
        let report = answer.wait_for(Option::is_some).await.map_err(|_| BusError::Closed)?;
        Ok(report.clone().unwrap_or_default())
    }

    /// Shuts the bus down as [`EventBus::shutdown`] does, within the configured
    /// [`shutdown_deadline`](crate::Config::shutdown_deadline).
    ///
    /// # Errors
    /// As [`EventBus::shutdown`].
    ///
    /// # Cancel safety
    /// As [`EventBus::shutdown`].
    pub async fn close(&self) -> Result<ShutdownReport, BusError> {
        self.shutdown(self.0.config.shutdown_deadline).await
    }
}

impl Inner {
    /// What is gone when this bus ends: the messages of a memory broker.
    async fn unhandled(&self) -> u64 {
        if self.broker.backend() != Backend::Memory {
            return 0;
        }
        let progress = self.broker.progress(&self.subscribed()).await;
        progress.map_or(0, |all| all.iter().map(|of| of.open).sum())
    }

    async fn shut_down(
        self: Arc<Self>,
        started: Instant,
        before: PoolStats,
        deadline: Duration,
    ) -> ShutdownReport {
        let left = || deadline.saturating_sub(started.elapsed());
        // First the token: a source that ends without it is a revoked one, whose queued messages
        // are dropped.
        self.flow.state.reading.cancel();
        self.broker.stop_reading().await;
        let pool = self.flow.pool.stop(left()).await;
        self.closing.drained.store(true, Relaxed);
        let unhandled = self.unhandled().await;
        self.flow.registry.clear();
        let closed = self.broker.close(left().max(Duration::from_secs(1))).await;
        self.closing.ended().cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let after = self.flow.pool.stats();
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
            let ShutdownReport { finished, abandoned, stragglers, broker_error, elapsed, .. } =
                &report;
            let (seconds, left) = (elapsed.as_secs_f64(), &self.flow.state.unfinished);
            let broker_error = broker_error.as_ref().map(|error| display(excerpt::error(error)));
            warn!(finished, abandoned, %left, stragglers, broker_error, seconds, "bus closed with work left for redelivery");
        }
        report
    }
}
