//! The queue of events between a broker and its bus. Unlike a channel, it drops the events that
//! are left when it is closed.

use super::BrokerEvent;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// A queue of broker events, for implementations of
/// [`Broker::next_event`](super::Broker::next_event).
///
/// Any thread may push, and one caller at a time takes. Its use bounds it: it holds at most one
/// entry for each assigned source, and a few events of the connection.
///
/// ```
/// use buslane_core::{BrokerEvent, EventQueue};
///
/// async fn report(events: &EventQueue) {
///     while let Some(event) = events.next().await {
///         println!("{event:?}");
///     }
/// }
///
/// let events = EventQueue::default();
/// events.push(BrokerEvent::Reconnected);
/// events.close();
/// # use std::{future::Future, pin::pin, task::{Context, Waker}};
/// # let mut context = Context::from_waker(Waker::noop());
/// # assert!(pin!(report(&events)).poll(&mut context).is_ready());
/// ```
#[derive(Default)]
pub struct EventQueue(Mutex<PendingEvents>);

#[derive(Default)]
struct PendingEvents {
    events: VecDeque<BrokerEvent>,
    closed: bool,
    taker: Option<Waker>,
}

impl EventQueue {
    /// Adds an event. After [`close`](Self::close) the event is dropped.
    pub fn push(&self, event: BrokerEvent) {
        let mut queue = self.lock();
        if queue.closed {
            // Dropping an event may call back into this queue, so the lock is released first.
            drop(queue);
            drop(event);
            return;
        }
        queue.events.push_back(event);
        wake(queue);
    }

    /// Drops the events that were not taken, and ends [`next`](Self::next).
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let events = std::mem::take(&mut queue.events);
        wake(queue);
        drop(events);
    }

    /// Waits for the next event; `None` once the queue is closed. Only one caller may wait: of two,
    /// only the later one is woken.
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

    /// No code panics in the middle of a change, so a poisoned lock still guards a valid queue.
    fn lock(&self) -> MutexGuard<'_, PendingEvents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases the lock, then wakes the waiting caller.
fn wake(mut queue: MutexGuard<'_, PendingEvents>) {
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
