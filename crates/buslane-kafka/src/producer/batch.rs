//! One publish call: its topic, and the results of its records in their order.

use buslane_core::{PublishError, Receipt, Topic};
use parking_lot::Mutex;
use std::{
    ffi::{CStr, CString},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// A topic to publish to, and the partitions that have acknowledged a record of this producer.
///
/// Kafka accepts any sequence number from a producer that is new to a partition. Suppose that a
/// partition has no leader yet and refuses the producer's first batch, but accepts the second one,
/// which was in flight: the broker then takes the repeated first batch for a duplicate, librdkafka
/// reports it as delivered, and its records are lost. After an acknowledged record the broker
/// refuses gaps, and a duplicate really is one.
pub(crate) struct Target {
    topic: Topic,
    /// The name as librdkafka takes it.
    name: CString,
    acked: Box<[AtomicBool]>,
}

impl Target {
    pub(crate) fn new(topic: Topic, partitions: u32) -> Self {
        let name = CString::new(topic.as_str()).expect("a topic name has no zero byte");
        Self { topic, name, acked: (0..partitions).map(|_| AtomicBool::new(false)).collect() }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn name(&self) -> &CStr {
        &self.name
    }

    pub(super) fn mark_acked(&self, partition: u32) {
        if let Some(flag) = self.acked.get(partition as usize)
            && !flag.load(Ordering::Relaxed)
        {
            flag.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn has_acked(&self, partition: u32) -> bool {
        self.acked.get(partition as usize).is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// The result of one record.
type PublishResult = Result<Receipt, PublishError>;

/// The records of one publish call.
pub(crate) struct Batch {
    target: Arc<Target>,
    /// The partition of all of them; `None` if each has its own.
    partition: Option<u32>,
    begun: Instant,
    state: Mutex<BatchState>,
}

struct BatchState {
    results: Vec<PublishResult>,
    /// Records without a result.
    left: usize,
    publisher: Option<Waker>,
}

impl Batch {
    pub(crate) fn new(target: Arc<Target>, partition: Option<u32>, count: usize) -> Arc<Self> {
        let results = vec![Err(PublishError::Closed); count];
        let state = BatchState { results, left: count, publisher: None };
        Arc::new(Self { target, partition, begun: Instant::now(), state: Mutex::new(state) })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) const fn partition(&self) -> Option<u32> {
        self.partition
    }

    pub(super) fn waited(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The ticket of the record at index `at`. Taken once, and again after it was given back.
    pub(super) fn ticket(self: &Arc<Self>, at: usize) -> Box<Ticket> {
        Box::new(Ticket { batch: Some(Arc::clone(self)), at })
    }

    fn answer(&self, at: usize, result: PublishResult) {
        let mut state = self.state.lock();
        state.results[at] = result;
        state.left -= 1;
        let publisher = if state.left == 0 { state.publisher.take() } else { None };
        drop(state);
        if let Some(publisher) = publisher {
            publisher.wake();
        }
    }
}

/// Completes with the results of a batch once each record has one. Dropping the future recalls no
/// record.
pub(super) struct BatchResults(pub(super) Arc<Batch>);

impl Future for BatchResults {
    type Output = Vec<PublishResult>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<PublishResult>> {
        let mut state = self.0.state.lock();
        if state.left == 0 {
            return Poll::Ready(std::mem::take(&mut state.results));
        }
        state.publisher = Some(context.waker().clone());
        Poll::Pending
    }
}

/// One record in flight. Dropping a ticket without an answer means that the client was closed.
pub(crate) struct Ticket {
    batch: Option<Arc<Batch>>,
    at: usize,
}

impl Ticket {
    /// Answers the record with the result of `answer`.
    pub(super) fn answer(mut self, answer: impl FnOnce(&Batch) -> PublishResult) {
        if let Some(batch) = self.batch.take() {
            batch.answer(self.at, answer(&batch));
        }
    }

    /// Returns the ticket of a record that the client has not accepted. The record is sent again
    /// later.
    pub(super) fn give_back(mut self) {
        self.batch = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            batch.answer(self.at, Err(PublishError::Closed));
        }
    }
}
