//! The publishes that wait for the broker's answer. Publishing counts them, and the monitor reads
//! the counts.

use buslane_core::{TooLong, Waits};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Added to the publish timeout: a broker client with a timeout of its own answers first, and names
/// what it waited for.
const GRACE: Duration = Duration::from_millis(100);

/// The publishes that wait for the broker's answer, and how long they wait. An immediate answer is
/// not counted.
pub(crate) struct InFlightPublishes {
    waits: Waits,
    depth: AtomicU64,
    answers: AtomicU64,
    waited_us: AtomicU64,
}

/// Records that wait for their answer.
struct Waiting<'a> {
    publishes: &'a InFlightPublishes,
    records: u64,
    since: Instant,
}

impl InFlightPublishes {
    /// Bounds each wait by `most`, and a little more; calls `is_held` for each that takes longer
    /// than `fast`.
    pub(crate) fn new(
        fast: Duration,
        most: Duration,
        is_held: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let waits = Waits::new(most.saturating_add(GRACE)).noting(fast, is_held);
        Self {
            waits,
            depth: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
        }
    }

    /// Waits for the answer to some records.
    pub(crate) async fn within<A>(
        &self,
        records: usize,
        answer: impl Future<Output = A>,
    ) -> Result<A, TooLong> {
        let records = records as u64;
        self.depth.fetch_add(records, Relaxed);
        let _waiting = Waiting { publishes: self, records, since: Instant::now() };
        self.waits.within(answer).await
    }

    /// Ends the waits that take too long. Runs until it is dropped.
    pub(crate) async fn watch(&self) {
        self.waits.watch(sleep).await;
    }

    /// The records without an answer, and the mean time of the answers since the last call.
    pub(crate) fn look(&self) -> (u64, Duration) {
        let (answers, waited) = (self.answers.swap(0, Relaxed), self.waited_us.swap(0, Relaxed));
        (self.depth.load(Relaxed), Duration::from_micros(waited.checked_div(answers).unwrap_or(0)))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.publishes.depth.fetch_sub(self.records, Relaxed);
        self.publishes.answers.fetch_add(1, Relaxed);
        self.publishes.waited_us.fetch_add(waited, Relaxed);
    }
}
