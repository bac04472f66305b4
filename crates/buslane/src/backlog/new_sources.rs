//! Sources that are new to this bus and wait until their lag is known: recovery mode must be on
//! before the first message of a backlog is handled.

use buslane_core::{Source, Topic};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};
use tracing::warn;

/// The longest wait of a source. A healthy broker answers sooner.
const TIMEOUT: Duration = Duration::from_secs(5);

struct WaitingSource {
    /// Counts the sources in the order in which they began to wait.
    number: u64,
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
    next: AtomicU64,
}

/// The sources that had begun to wait at one moment. Those that come later are not judged by what
/// was decided before: they would be read although recovery mode has not begun for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Come(u64);

impl NewSources {
    pub(super) const fn new() -> Self {
        Self { waiting: Mutex::new(Some(Vec::new())), next: AtomicU64::new(0) }
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
                number: self.next.fetch_add(1, Relaxed),
                topic: source.topic.clone(),
                partition: source.partition,
                times_out: now + TIMEOUT,
                _release: release,
            });
        }
        monitor.notify_one();
        let _ = released.await;
    }

    /// The sources that have begun to wait until now.
    pub(super) fn come(&self) -> Come {
        let _waiting = self.waiting.lock();
        Come(self.next.load(Relaxed))
    }

    /// Whether `holds` is true for one of the sources that had `come`, and wait.
    pub(super) fn any(&self, come: Come, holds: impl Fn(&Topic, u32) -> bool) -> bool {
        let waiting = self.waiting.lock();
        let mut had_come = waiting.iter().flatten().filter(|source| source.number < come.0);
        had_come.any(|source| holds(&source.topic, source.partition))
    }

    /// Whether a source waits.
    pub(super) fn is_any(&self) -> bool {
        self.waiting.lock().as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    /// Releases the sources of these partitions, of those that had `come`.
    pub(super) fn release(&self, come: Come, known: &HashSet<(&Topic, u32)>) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.retain(|source| {
                source.number >= come.0 || !known.contains(&(&source.topic, source.partition))
            });
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    #[test]
    fn l3_a_source_that_comes_during_a_look_waits_for_the_next_one() {
        let (sources, monitor) = (NewSources::new(), Notify::new());
        let topic = Topic::new("orders").expect("a name");
        let (one, other) = (Source::new(topic.clone(), 0), Source::new(topic.clone(), 1));
        let (mut first, mut second) = (
            pin!(sources.wait(&one, Instant::now(), &monitor)),
            pin!(sources.wait(&other, Instant::now(), &monitor)),
        );
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let come = sources.come();
        assert!(second.as_mut().poll(&mut cx).is_pending());
        let known: HashSet<_> = [(&topic, 0), (&topic, 1)].into();
        assert!(sources.any(come, |_, partition| partition == 0));
        assert!(!sources.any(come, |_, partition| partition == 1));
        sources.release(come, &known);
        assert_eq!(first.poll(&mut cx), Poll::Ready(()));
        assert!(second.as_mut().poll(&mut cx).is_pending() && sources.is_any());
        sources.release(sources.come(), &known);
        assert_eq!(second.poll(&mut cx), Poll::Ready(()));
    }
}
