//! One publish call: the answers to its records, in their order.

use super::Acked;
use buslane_core::{PublishError, Receipt, Topic};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

type Answers = Vec<Result<Receipt, PublishError>>;

pub(crate) struct Batch {
    topic: Topic,
    acked: Arc<Acked>,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    answers: Answers,
    left: usize,
    done: Option<oneshot::Sender<Answers>>,
}

impl Batch {
    /// A batch of `count` records, and its answers once there are so many.
    pub(crate) fn new(topic: Topic, acked: Arc<Acked>, count: usize) -> (Arc<Self>, oneshot::Receiver<Answers>) {
        let (done, answers) = oneshot::channel();
        let state = State { answers: vec![Err(PublishError::Closed); count], left: count, done: Some(done) };
        (Arc::new(Self { topic, acked, begun: Instant::now(), state: Mutex::new(state) }), answers)
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn acked(&self) -> &Acked {
        &self.acked
    }

    pub(crate) fn waited(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes the answer to one record; each has exactly one.
    pub(crate) fn answer(&self, at: usize, answer: Result<Receipt, PublishError>) {
        let mut state = self.state.lock();
        state.answers[at] = answer;
        state.left -= 1;
        if state.left == 0
            && let Some(done) = state.done.take()
        {
            let answers = std::mem::take(&mut state.answers);
            drop(state);
            // A publisher that was cancelled does not listen.
            let _ = done.send(answers);
        }
    }
}
