//! The one dynamic call between a pool and a handler.

use super::{AttemptSlot, CatchPanic, Handler, judge};
use crate::{Job, JobState, Kind, Message, Outcome, Verdict};
use std::{fmt, sync::Arc, time::Duration};

/// What one attempt of a job came to.
#[derive(Debug)]
pub enum Step {
    /// The job is over.
    Done(Outcome),
    /// The job stays at the head of its lane and runs again later.
    Again(Box<Retry>),
}

/// Why and when a job runs again.
pub struct Retry {
    /// Time until then.
    pub delay: Duration,
    /// Whether the handler is asked again, which makes this attempt one that was retried. Otherwise
    /// only the end of the job is left to do, such as to write its dead letter.
    pub is_retry: bool,
    /// What this attempt came to; counted, not settled.
    pub outcome: Outcome,
    /// Whether the key is blocked: out of attempts, and tried again only in case the cause went
    /// away.
    pub blocked: bool,
    /// What the handler wants to find in [`Job::state`] at the next attempt.
    pub state: Option<Box<JobState>>,
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("delay", &self.delay)
            .field("is_retry", &self.is_retry)
            .field("outcome", &self.outcome)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}

/// A handler whose argument and future types are erased. Made once per subscription by [`erase`] or
/// by a bus.
pub trait ErasedHandler: Send + Sync + 'static {
    /// Which promise its messages have: decides what a panic does to an actor.
    fn kind(&self) -> Kind;

    /// Starts an attempt of `job` in `slot`. Takes what it needs out of the job; what it leaves
    /// there is what the next attempt finds.
    fn start(&self, job: &mut Job, slot: &mut AttemptSlot);

    /// Told how a job ended, just before it is settled. Must not panic.
    fn ended(&self, job: &Job, outcome: &Outcome) {
        let _ = (job, outcome);
    }

    /// Told that the key of a message is blocked, before the message waits for its next attempt;
    /// `state` is what that attempt finds in [`Job::state`]. Must not panic.
    fn blocked(&self, message: &Message, state: &mut Option<Box<JobState>>) {
        let _ = (message, state);
    }

    /// What becomes of a job whose attempt panicked outside of the handler's own care.
    fn panicked(&self, job: &mut Job, text: String) -> Step {
        let _ = job;
        Step::Done(Outcome::Panicked(text))
    }
}

/// Erases a handler of [`Message`]s for use on a pool without a bus: every verdict but done is a
/// failure.
#[must_use]
pub fn erase<H: Handler<Message>>(kind: Kind, handler: H) -> Arc<dyn ErasedHandler> {
    Arc::new(Plain { kind, handler: Arc::new(handler) })
}

struct Plain<H> {
    kind: Kind,
    handler: Arc<H>,
}

impl<H: Handler<Message>> ErasedHandler for Plain<H> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        let mut message = job.message.clone();
        message.kind = self.kind;
        match self.kind {
            Kind::Regular => {
                slot.start(&self.handler, message, |handler, message| async move {
                    finished(judge(&*handler, message).await)
                });
            }
            Kind::Envelope => {
                slot.start(&self.handler, message, |handler, message| async move {
                    match CatchPanic::new(judge(&*handler, message)).await {
                        Ok(verdict) => finished(verdict),
                        Err(text) => Step::Done(Outcome::Panicked(text)),
                    }
                });
            }
        }
    }
}

fn finished(verdict: Verdict) -> Step {
    Step::Done(match verdict {
        Verdict::Done => Outcome::Ok,
        Verdict::Failed(error) | Verdict::Retry(error) | Verdict::Reject(error) => {
            Outcome::Failed(error)
        }
    })
}
