//! The one dynamic call between a pool and a handler.

use super::{AttemptSlot, CatchPanic, Handler, judge};
use crate::{Job, Kind, Message, Outcome};
use std::{fmt, sync::Arc, time::Duration};

/// What one attempt of a job came to.
#[derive(Debug)]
pub enum Step {
    /// The job is over.
    Done(Outcome),
    /// The job is not over: another attempt follows.
    Again(Box<Reattempt>),
}

/// When and how a job runs again.
pub struct Reattempt {
    /// Time until then, which the job spends at the head of its lane. `None` to go on at once, in
    /// place of the attempt that has ended: where only the end of the job is left to do, such as
    /// writing its dead letter.
    pub delay: Option<Duration>,
    /// Whether the handler is asked again, which makes this attempt one that was retried.
    pub is_retry: bool,
    /// What this attempt came to; counted, not settled.
    pub outcome: Outcome,
    /// Whether the key is blocked: out of attempts, and tried again only in case the cause went
    /// away.
    pub blocked: bool,
    /// Starts the attempt; `None` where the handler starts it like the first one.
    pub next: Option<Box<dyn NextAttempt>>,
}

impl fmt::Debug for Reattempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reattempt")
            .field("delay", &self.delay)
            .field("is_retry", &self.is_retry)
            .field("outcome", &self.outcome)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}

/// What one attempt of a job leaves to the next: the handler, and what is known so far.
pub trait NextAttempt: Send {
    /// Starts the attempt of `job` in `slot`, as [`ErasedHandler::start`] does for the first one.
    fn start(self: Box<Self>, job: &mut Job, slot: &mut AttemptSlot);

    /// Called when the key of the message is blocked, before the message waits for this attempt.
    /// Must not panic.
    fn blocked(&mut self, message: &Message) {
        let _ = message;
    }
}

/// A handler whose argument and future types are erased. Made once per subscription by [`erase`] or
/// by a bus.
pub trait ErasedHandler: Send + Sync + 'static {
    /// The delivery promise of its messages, which decides what a panic does to an actor.
    fn kind(&self) -> Kind;

    /// Starts an attempt of `job` in `slot`: the first one, and each one that no
    /// [`Reattempt::next`] starts. Takes what it needs out of the job.
    fn start(&self, job: &mut Job, slot: &mut AttemptSlot);

    /// Called with the outcome of a job, just before it is settled. Must not panic.
    fn ended(&self, job: &Job, outcome: &Outcome) {
        let _ = (job, outcome);
    }

    /// Decides what follows an attempt that panicked outside of the handler's own care.
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
                    Step::Done(judge(&*handler, message).await.into())
                });
            }
            Kind::Envelope => {
                slot.start(&self.handler, message, |handler, message| async move {
                    let judged = CatchPanic::new(judge(&*handler, message)).await;
                    Step::Done(judged.map_or_else(Outcome::Panicked, Outcome::from))
                });
            }
        }
    }
}
