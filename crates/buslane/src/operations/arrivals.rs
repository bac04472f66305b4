//! Sources that are new to this bus, and wait until somebody has looked how far behind they are.

use buslane_core::{Source, Topic};
use parking_lot::Mutex;
use std::{collections::HashSet, time::Duration};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// How long a source waits for a look at most: longer than a broker needs that is well.
const PATIENCE: Duration = Duration::from_secs(5);

struct Arrival {
    topic: Topic,
    partition: u32,
    until: Instant,
    /// Dropped when it may go on.
    _go_on: oneshot::Sender<()>,
}

/// The sources that wait.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// `None` once nobody looks any more.
    waiting: Mutex<Option<Vec<Arrival>>>,
    pub(super) more: Notify,
}

impl Arrivals {
    pub(super) fn open(&self) {
        self.waiting.lock().get_or_insert_default();
    }

    /// Lets everybody go on, now and later.
    pub(super) fn close(&self) {
        self.waiting.lock().take();
    }

    /// Waits until it was looked at.
    pub(crate) async fn wait(&self, source: &Source) {
        let (go_on, going_on) = oneshot::channel();
        let (topic, partition, until) =
            (source.topic.clone(), source.partition, Instant::now() + PATIENCE);
        {
            let mut waiting = self.waiting.lock();
            let Some(waiting) = &mut *waiting else { return };
            waiting.push(Arrival { topic, partition, until, _go_on: go_on });
        }
        self.more.notify_one();
        let _ = going_on.await;
    }

    /// Whether one of those that wait `is` so.
    pub(super) fn any(&self, is: impl Fn(&Topic, u32) -> bool) -> bool {
        self.waiting.lock().iter().flatten().any(|arrival| is(&arrival.topic, arrival.partition))
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().as_ref().is_none_or(Vec::is_empty)
    }

    /// Lets those go on of which a look has told enough.
    pub(super) fn looked(&self, told: &HashSet<(&Topic, u32)>) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.retain(|arrival| !told.contains(&(&arrival.topic, arrival.partition)));
        }
    }

    /// Lets those go on that have waited for too long.
    pub(super) fn give_up(&self, now: Instant) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.retain(|arrival| {
                let waits = arrival.until > now;
                if !waits {
                    let (topic, partition) = (arrival.topic.as_str(), arrival.partition);
                    tracing::warn!(
                        topic,
                        partition,
                        "backlog not known at the start, reading begins"
                    );
                }
                waits
            });
        }
    }

    /// When the first of them has waited for too long; `None` when nobody waits. They stand in the
    /// order in which they came.
    pub(super) fn patience(&self) -> Option<Instant> {
        self.waiting.lock().as_ref()?.first().map(|arrival| arrival.until)
    }
}
