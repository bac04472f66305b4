//! What the bus is told, in order.
//!
//! Holds at most one entry an assigned partition, and a few words on the connection: what is not read yet of a
//! partition that is gone is handed out all the same, and its reader sees the end at once.

use buslane_core::BrokerEvent;
use parking_lot::Mutex;
use std::{collections::VecDeque, pin::pin};
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Events {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<BrokerEvent>,
    closed: bool,
}

impl Events {
    pub(crate) fn push(&self, event: BrokerEvent) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.events.push_back(event);
        }
        drop(queue);
        self.changed.notify_waiters();
    }

    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let events = std::mem::take(&mut queue.events);
        drop(queue);
        drop(events);
        self.changed.notify_waiters();
    }

    pub(crate) async fn next(&self) -> Option<BrokerEvent> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut queue = self.queue.lock();
                if let Some(event) = queue.events.pop_front() {
                    return Some(event);
                }
                if queue.closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}
