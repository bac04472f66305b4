//! Handlers: the code of an application, and how its type is erased once per subscription.

mod slot;

pub use slot::{AttemptSlot, CatchPanic, Local, panic_text};

use crate::{IntoVerdict, Job, Kind, Message, Outcome, Verdict};
use std::{fmt, future::Future, sync::Arc, time::Duration};

/// Handles messages: an async function, a closure, or a type of your own.
///
/// Closures are `Fn(M) -> impl Future + Send`. A type names what it returns and implements the one
/// method as `async fn handle`. Share state through the fields of a type, or through a clone for
/// each call of a closure:
///
/// ```
/// use buslane_core::{Handler, Message};
/// use std::{io, sync::{Arc, Mutex}};
///
/// #[derive(Clone, Default)]
/// struct Cache(Arc<Mutex<Vec<String>>>);
///
/// impl Handler<Message> for Cache {
///     type Output = Result<(), io::Error>;
///
///     async fn handle(&self, message: Message) -> Self::Output {
///         let text = String::from_utf8(message.payload.to_vec()).map_err(io::Error::other)?;
///         self.0.lock().unwrap().push(text);
///         Ok(())
///     }
/// }
///
/// fn takes(_: impl Handler<Message>) {}
/// let cache = Cache::default();
/// takes(cache.clone());
/// takes(move |message: Message| {
///     let cache = cache.clone();
///     async move { cache.handle(message).await }
/// });
/// takes(async |message: Message| println!("{:?}", message.payload));
/// ```
///
/// # Cancel safety
/// The future is dropped at an `.await` when a handler timeout or a shutdown deadline passes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{M}`",
    note = "a handler is an async function or a closure `Fn({M}) -> impl Future + Send`; one that captures clones into an `async move` block"
)]
pub trait Handler<M>: Send + Sync + 'static {
    /// The output: `()`, a [`Verdict`], or a `Result` of either.
    type Output: IntoVerdict;

    /// Handles one message.
    fn handle(&self, message: M) -> impl Future<Output = Self::Output> + Send;
}

impl<M, F, Fut> Handler<M> for F
where
    F: Fn(M) -> Fut + Send + Sync + 'static,
    Fut: Future + Send,
    Fut::Output: IntoVerdict,
{
    type Output = Fut::Output;

    fn handle(&self, message: M) -> impl Future<Output = Fut::Output> + Send {
        self(message)
    }
}

/// Runs a handler, and converts its output into a verdict.
pub async fn judge<M, H: Handler<M>>(handler: &H, message: M) -> Verdict {
    handler.handle(message).await.into_verdict()
}

/// The result of one attempt of a job.
#[derive(Debug)]
pub enum Step {
    /// The job has ended.
    Done(Outcome),
    /// Another attempt follows.
    Again(Box<Reattempt>),
}

/// When and how a job runs again.
pub struct Reattempt {
    /// The time until then, which the job spends at the head of its lane. `None` starts the next
    /// attempt at once, in place of the one that has ended: for the end of a job, such as writing
    /// its dead letter.
    pub delay: Option<Duration>,
    /// Whether the next attempt runs the handler again, so that this one counts as retried.
    pub is_retry: bool,
    /// The outcome of this attempt, which is counted but not settled.
    pub outcome: Outcome,
    /// Whether the key is blocked: its attempts are used up, and it is retried in case the cause
    /// has gone away.
    pub blocked: bool,
    /// Starts the next attempt; `None` if the handler starts it like the first one.
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

/// The state that one attempt of a job leaves to the next, and the code that starts it.
pub trait NextAttempt: Send {
    /// Starts the attempt of `job` in `slot`, as [`ErasedHandler::start`] does for the first one.
    fn start(self: Box<Self>, job: &mut Job, slot: &mut AttemptSlot);

    /// Called when the key of the message becomes blocked, before the message waits for this
    /// attempt. Must not panic.
    fn blocked(&mut self, message: &Message) {
        let _ = message;
    }
}

/// A handler whose argument and future types are erased. [`erase`] or a bus creates it once per
/// subscription.
pub trait ErasedHandler: Send + Sync + 'static {
    /// The delivery guarantee of its messages, which decides what a panic does to an actor.
    fn kind(&self) -> Kind;

    /// Starts an attempt of `job` in `slot`: the first one, and each later one without a
    /// [`Reattempt::next`]. May take fields out of the job.
    fn start(&self, job: &mut Job, slot: &mut AttemptSlot);

    /// Called with the outcome of a job just before the job is settled. Must not panic.
    fn ended(&self, job: &Job, outcome: &Outcome) {
        let _ = (job, outcome);
    }

    /// Decides what follows an attempt whose panic the attempt itself did not catch.
    fn panicked(&self, job: &mut Job, text: String) -> Step {
        let _ = job;
        Step::Done(Outcome::Panicked(text))
    }
}

/// Erases the type of a handler of [`Message`]s for use on a pool without a bus. Every verdict but
/// [`Verdict::Done`] is a failure.
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
