//! One publish call: the answers to its records, in their order.

use super::target::Target;
use buslane_core::{PublishError, Receipt};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

type Answer = Result<Receipt, PublishError>;

pub(crate) struct Batch {
    target: Arc<Target>,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    answers: Vec<Answer>,
    left: usize,
    publisher: Option<Waker>,
}

impl Batch {
    pub(crate) fn new(target: Arc<Target>, count: usize) -> Arc<Self> {
        let state =
            State { answers: vec![Err(PublishError::Closed); count], left: count, publisher: None };
        Arc::new(Self { target, begun: Instant::now(), state: Mutex::new(state) })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn waited(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The ticket of the record at this index. Taken once, and again after it was given back.
    pub(super) fn ticket(self: &Arc<Self>, at: usize) -> Box<Ticket> {
        Box::new(Ticket { batch: Some(Arc::clone(self)), at })
    }

    fn answer(&self, at: usize, answer: Answer) {
        let mut state = self.state.lock();
        state.answers[at] = answer;
        state.left -= 1;
        let publisher = if state.left == 0 { state.publisher.take() } else { None };
        drop(state);
        if let Some(publisher) = publisher {
            publisher.wake();
        }
    }
}

/// Completes with the answers of a batch once each record has one. Dropping it recalls no record.
pub(super) struct Answers(pub(super) Arc<Batch>);

impl Future for Answers {
    type Output = Vec<Answer>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<Answer>> {
        let mut state = self.0.state.lock();
        if state.left == 0 {
            return Poll::Ready(std::mem::take(&mut state.answers));
        }
        state.publisher = Some(context.waker().clone());
        Poll::Pending
    }
}

/// One record in flight. A ticket that is dropped without an answer means that the client was
/// closed.
pub(crate) struct Ticket {
    batch: Option<Arc<Batch>>,
    at: usize,
}

impl Ticket {
    /// Answers the record with the result of `answer`.
    pub(super) fn answer(mut self, answer: impl FnOnce(&Batch) -> Answer) {
        if let Some(batch) = self.batch.take() {
            batch.answer(self.at, answer(&batch));
        }
    }

    /// The client has not accepted the record, which is sent again later.
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
