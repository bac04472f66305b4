//! A queue of events for brokers: not a channel, because closing it drops what nobody has taken.

use super::BrokerEvent;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// What a broker tells the bus, in order, for implementations of
/// [`Broker::next_event`](super::Broker::next_event).
///
/// Any thread adds to it, and one caller at a time takes from it. It is bounded by what it is used
/// for: at most one entry an assigned source, and a few words on the connection.
#[derive(Default)]
pub struct EventQueue(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    events: VecDeque<BrokerEvent>,
    closed: bool,
    taker: Option<Waker>,
}

impl EventQueue {
    /// Adds an event; after [`close`](Self::close) it is dropped.
    pub fn push(&self, event: BrokerEvent) {
        let mut queue = self.lock();
        if queue.closed {
            // What an event holds may call back as it is dropped.
            drop(queue);
            drop(event);
            return;
        }
        queue.events.push_back(event);
        wake(queue);
    }

    /// Drops what nobody has taken, and lets [`next`](Self::next) end.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let events = std::mem::take(&mut queue.events);
        wake(queue);
        drop(events);
    }

    /// The next event, or `None` once it is closed. One caller at a time: of two, only the later
    /// one is woken.
    ///
    /// # Cancel safety
    /// Cancelling loses no event.
    pub async fn next(&self) -> Option<BrokerEvent> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&self, context: &Context<'_>) -> Poll<Option<BrokerEvent>> {
        let mut queue = self.lock();
        if let Some(event) = queue.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if queue.closed {
            return Poll::Ready(None);
        }
        queue.taker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Nothing here panics half-way, so a poisoned lock guards a sound queue.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes who waits, outside of the lock.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let taker = queue.taker.take();
    drop(queue);
    if let Some(taker) = taker {
        taker.wake();
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.lock();
        f.debug_struct("EventQueue")
            .field("waiting", &queue.events.len())
            .field("closed", &queue.closed)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn reconnected(event: Poll<Option<BrokerEvent>>) -> bool {
        matches!(event, Poll::Ready(Some(BrokerEvent::Reconnected)))
    }

    #[test]
    fn events_come_in_order_and_wake_who_waits() {
        let (queue, calls) = (EventQueue::default(), Arc::new(Calls::default()));
        let waker = Waker::from(Arc::clone(&calls));
        let mut context = Context::from_waker(&waker);
        let mut next = pin!(queue.next());
        assert!(next.as_mut().poll(&mut context).is_pending());
        queue.push(BrokerEvent::Reconnected);
        queue.push(BrokerEvent::Disconnected { reason: "gone".to_owned() });
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        assert!(reconnected(next.poll(&mut context)));
        let last = pin!(queue.next()).poll(&mut context);
        assert!(matches!(last, Poll::Ready(Some(BrokerEvent::Disconnected { .. }))));
    }

    #[test]
    fn a_call_that_is_given_up_loses_nothing() {
        let queue = EventQueue::default();
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(queue.next()).poll(&mut context).is_pending());
        queue.push(BrokerEvent::Reconnected);
        assert!(reconnected(pin!(queue.next()).poll(&mut context)));
    }

    #[test]
    fn a_closed_queue_holds_nothing_and_ends_who_waits() {
        let (queue, calls) = (EventQueue::default(), Arc::new(Calls::default()));
        let waker = Waker::from(Arc::clone(&calls));
        let mut context = Context::from_waker(&waker);
        let mut next = pin!(queue.next());
        assert!(next.as_mut().poll(&mut context).is_pending());
        queue.close();
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        assert!(matches!(next.poll(&mut context), Poll::Ready(None)));
        queue.push(BrokerEvent::Reconnected);
        assert_eq!(format!("{queue:?}"), "EventQueue { waiting: 0, closed: true }");
    }
}
