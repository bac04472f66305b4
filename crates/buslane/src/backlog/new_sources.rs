//! Sources that are new to this bus and wait until their lag is known: recovery mode must be on
//! before the first message of a backlog is handled.

use buslane_core::{Source, Topic};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};
use tracing::warn;

/// The longest wait of a source. A healthy broker answers sooner.
const TIMEOUT: Duration = Duration::from_secs(5);

struct WaitingSource {
    topic: Topic,
    partition: u32,
    times_out: Instant,
    /// Dropped when the source may be read.
    _release: oneshot::Sender<()>,
}

/// The new sources of a bus, in the order in which they began to wait.
pub(super) struct NewSources {
    /// `None` once the monitor has ended.
    waiting: Mutex<Option<Vec<WaitingSource>>>,
}

impl NewSources {
    pub(super) const fn new() -> Self {
        Self { waiting: Mutex::new(Some(Vec::new())) }
    }

    /// Releases all sources, now and later.
    pub(super) fn close(&self) {
        self.waiting.lock().take();
    }

    /// Waits until the source is released. Notifies `monitor` that one waits.
    ///
    /// # Cancel safety
    /// A cancelled wait leaves an entry, which the next lag of the partition or the timeout
    /// removes.
    pub(super) async fn wait(&self, source: &Source, now: Instant, monitor: &Notify) {
        let (release, released) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            let Some(waiting) = &mut *waiting else { return };
            waiting.push(WaitingSource {
                topic: source.topic.clone(),
                partition: source.partition,
                times_out: now + TIMEOUT,
                _release: release,
            });
        }
        monitor.notify_one();
        let _ = released.await;
    }

    /// Whether `holds` is true for one of the waiting sources.
    pub(super) fn any(&self, holds: impl Fn(&Topic, u32) -> bool) -> bool {
        self.waiting.lock().iter().flatten().any(|source| holds(&source.topic, source.partition))
    }

    /// Whether a source waits.
    pub(super) fn is_any(&self) -> bool {
        self.waiting.lock().as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    /// Releases the sources of these partitions.
    pub(super) fn release(&self, known: &HashSet<(&Topic, u32)>) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.retain(|source| !known.contains(&(&source.topic, source.partition)));
        }
    }

    /// Releases the sources that have waited for too long.
    pub(super) fn expire(&self, now: Instant) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.retain(|source| {
                let waits = source.times_out > now;
                if !waits {
                    let (topic, partition) = (source.topic.as_str(), source.partition);
                    warn!(topic, partition, "backlog not known at the start, reading begins");
                }
                waits
            });
        }
    }

    /// When [`NewSources::expire`] has something to do; `None` when no source waits.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.lock().as_ref()?.first().map(|source| source.times_out)
    }
}
