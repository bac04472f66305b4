//! Envelopes: attempts until one succeeds, then the terminal policy.
//!
//! An envelope that failed keeps its place at the head of its lane. The next attempt is a value
//! that carries the parsed body and the history of failures, so the body is parsed once.

mod park;

use super::{
    aggregate::open,
    attempt::{Erased, HandlerContext, Policy, Services, TerminalPolicy, run_handler},
    dead_letter::{self, History, Letter},
    delivery_span::{CarrySpan, DeliverySpan, Traced},
};
use crate::{Class, metrics::SubscriptionMetrics, state::BlockedEntry};
use buslane_core::{
    AttemptSlot, CatchPanic, ErasedHandler, Event, Handler, HandlerError, HandlerPanicked, Job,
    Kind, Layout, Local, Message, NextAttempt, Outcome, ParsedEnvelope, Reattempt, Route, Source,
    Step, Verdict, excerpt,
};
use park::{Parking, begin_beside_parked, park, park_next};
use std::{sync::Arc, time::Duration};
use tracing::{error, warn};

/// Erases a handler of envelopes.
pub(crate) fn erase_envelopes<H: Handler<Event>>(
    handler: H,
    policy: Policy,
    services: Arc<Services>,
    metrics: Arc<SubscriptionMetrics>,
) -> Arc<Erased> {
    Erased::new(Envelopes(Arc::new(HandlerContext { handler, policy, services, metrics })))
}

struct Envelopes<H>(Arc<HandlerContext<H>>);

impl<H: Handler<Event>> ErasedHandler for Envelopes<H> {
    fn kind(&self) -> Kind {
        Kind::Envelope
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        let span = DeliverySpan::begin(&self.0.services, &job.message);
        let begin = Begin::First(job.parsed.take());
        start(&self.0, job, slot, begin, span);
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        if let Outcome::Abandoned = outcome {
            self.0.services.state.unfinished.note(&job.message);
        }
    }

    /// Counts the panic of a classifier or of an error's text as a failed attempt. Of the earlier
    /// attempts only the number is left. Where the envelope is given up, a further attempt without
    /// delay writes the dead letter.
    fn panicked(&self, job: &mut Job, text: String) -> Step {
        let message = &job.message;
        let before = message.attempt.checked_sub(1).filter(|attempts| *attempts > 0);
        let history =
            before.map(|attempts| History { attempts, ..History::after(None, String::new()) });
        let origin = Origin::of(message, job.lane, job.settlement.is_last());
        let failure = Failure {
            panic: Some(text.clone()),
            ..Failure::transient(HandlerPanicked(text).into())
        };
        failed(&self.0, &origin, failure, Layout::read(&message.payload), history).carry_span(None)
    }
}

/// The next attempt of an envelope that failed.
struct Next<H> {
    context: Arc<HandlerContext<H>>,
    task: Task,
    history: History,
    span: Option<Box<DeliverySpan>>,
}

/// What the next attempt of an envelope does.
#[allow(
    clippy::large_enum_variant,
    reason = "it lives in a box, and the large variant is the common one"
)]
enum Task {
    /// Runs the handler again on the body that was parsed before.
    Handle(ParsedEnvelope),
    /// Writes the dead letter of an envelope that is given up because of this error.
    WriteDeadLetter(HandlerError),
    /// Writes to the log of parked keys.
    Park(Parking),
}

impl<H: Handler<Event>> NextAttempt for Next<H> {
    fn start(mut self: Box<Self>, job: &mut Job, slot: &mut AttemptSlot) {
        let context = Arc::clone(&self.context);
        let carried = self.span.take();
        let mut span = carried.or_else(|| DeliverySpan::begin(&context.services, &job.message));
        if let (Some(span), Task::Handle(_)) = (&mut span, &self.task) {
            span.attempt(job.message.attempt);
        }
        start(&context, job, slot, Begin::Next(self), span);
    }

    fn blocked(&mut self, message: &Message) {
        let (keys, history) = (&self.context.services.state.blocked, &mut self.history);
        let entry = history.blocked.get_or_insert_with(|| Arc::new(BlockedEntry::new(keys)));
        entry.note(message, history.attempts, &history.error);
        // A dead letter that was not written has its own log line.
        if let Task::Handle(_) = self.task {
            let _entered = self.span.as_ref().map(|span| span.enter());
            let (topic, partition, offset) =
                (message.topic().as_str(), message.partition(), message.offset);
            let (key, attempt, error) =
                (message.label_excerpt(), history.attempts, excerpt::error(&history.error));
            error!(kind = "envelope", topic, partition, offset, %key, attempt, %error, "key blocked");
        }
    }
}

/// The start of an attempt. Boxed, because both contents are rare and large.
enum Begin<H> {
    /// The first attempt; the body, where routing has parsed it.
    First(Option<Box<ParsedEnvelope>>),
    /// An attempt after a failure.
    Next(Box<Next<H>>),
}

struct Input<H> {
    message: Message,
    lane: u64,
    /// Whether this is the broker's last delivery of the message.
    is_last: bool,
    begin: Begin<H>,
}

/// Starts an attempt. One call site lets all attempts of a subscription share a box of the slot.
fn start<H: Handler<Event>>(
    context: &Arc<HandlerContext<H>>,
    job: &Job,
    slot: &mut AttemptSlot,
    begin: Begin<H>,
    span: Option<Box<DeliverySpan>>,
) {
    let (message, is_last) = (job.message.clone(), job.settlement.is_last());
    let input = Input { message, lane: job.lane, is_last, begin };
    slot.start(context, (input, span), |context, (input, span)| {
        Traced::new(span, attempt(context, input))
    });
}

/// The result of an attempt.
enum Attempted<H> {
    Done(Outcome),
    Again(Again<H>),
}

/// As [`Reattempt`], of an envelope.
struct Again<H> {
    delay: Option<Duration>,
    outcome: Outcome,
    is_blocked: bool,
    next: Box<Next<H>>,
}

impl<H: Handler<Event>> CarrySpan for Attempted<H> {
    fn carry_span(self, span: Option<Box<DeliverySpan>>) -> Step {
        match self {
            Self::Done(outcome) => outcome.carry_span(span),
            Self::Again(Again { delay, outcome, is_blocked, mut next }) => {
                next.span = span;
                let is_retry = matches!(next.task, Task::Handle(_));
                Step::Again(Box::new(Reattempt {
                    delay,
                    is_retry,
                    outcome,
                    blocked: is_blocked,
                    next: Some(next),
                }))
            }
        }
    }
}

async fn attempt<H: Handler<Event>>(
    context: Local<HandlerContext<H>>,
    input: Input<H>,
) -> Attempted<H> {
    let Input { mut message, lane, is_last, begin } = input;
    let (parsed, history) = match begin {
        Begin::First(None) => (Layout::read(&message.payload), None),
        Begin::First(Some(parsed)) => (*parsed, None),
        Begin::Next(next) => match next.task {
            Task::Handle(parsed) => (parsed, Some(next.history)),
            Task::WriteDeadLetter(cause) => {
                let written =
                    publish_dead_letter(context.shared(), &message, lane, next.history, cause);
                return Box::pin(written).await;
            }
            Task::Park(parking) => {
                let history = Some(next.history);
                return Box::pin(park(context.shared(), &message, history, parking)).await;
            }
        },
    };
    let mut redriven = None;
    if context.services.owners.are_busy()
        && let Some(owner) = context.services.owners.of(&message.source)
    {
        if history.is_none() {
            let begun = begin_beside_parked(context.shared(), &owner, &message);
            if let Some(ended) = Box::pin(begun).await {
                return ended;
            }
        }
        redriven = owner.redriven(&message).map(|key| (owner, key));
    }
    let origin = Origin::of(&message, lane, is_last);
    let read = parsed.and_then(|layout| open(&message, layout));
    let (layout, envelope) = match read {
        Ok(read) => read,
        Err(error) => {
            let parsed = Err(error.clone());
            let failure = Failure::permanent(error.into());
            return failed(context.shared(), &origin, failure, parsed, history);
        }
    };
    message.attempt = history.as_ref().map_or(0, |history| history.attempts) + 1;
    let event = Event { envelope, message };
    let judged = CatchPanic::new(run_handler(&*context, event, origin.offset)).await;
    let failure = match judged {
        Ok(Verdict::Done) => {
            context.services.failing_keys.remove(lane);
            if let Some((owner, key)) = redriven
                && let Some(entry) = owner.handled(&key, origin.offset)
            {
                return park_next(context.shared(), history, Parking::write(entry, None));
            }
            return Attempted::Done(Outcome::Ok);
        }
        Ok(Verdict::Failed(error)) => {
            let class = (context.policy.classifier)(&error);
            Failure { error, class, panic: None }
        }
        Ok(Verdict::Retry(error)) => Failure::transient(error),
        Ok(Verdict::Reject(error)) => Failure::permanent(error),
        Err(text) => {
            let error = HandlerPanicked(text.clone()).into();
            Failure { panic: Some(text), ..Failure::transient(error) }
        }
    };
    failed(context.shared(), &origin, failure, Ok(layout), history)
}

/// The origin of a message, for decisions and log lines.
struct Origin {
    lane: u64,
    /// Whether the lane belongs to a key, not to this message alone.
    has_key: bool,
    /// Whether this is the broker's last delivery of the message: it is given up now or lost.
    is_last: bool,
    offset: u64,
    source: Arc<Source>,
}

impl Origin {
    fn of(message: &Message, lane: u64, is_last: bool) -> Self {
        let has_key = !matches!(message.route, Route::RoundRobin(_));
        Self { lane, has_key, is_last, offset: message.offset, source: Arc::clone(&message.source) }
    }
}

/// One failed attempt.
struct Failure {
    error: HandlerError,
    class: Class,
    panic: Option<String>,
}

impl Failure {
    const fn transient(error: HandlerError) -> Self {
        Self { error, class: Class::Transient, panic: None }
    }

    const fn permanent(error: HandlerError) -> Self {
        Self { error, class: Class::Permanent, panic: None }
    }
}

/// Decides what follows a failed attempt.
#[cold]
fn failed<H>(
    context: &Arc<HandlerContext<H>>,
    origin: &Origin,
    failure: Failure,
    parsed: ParsedEnvelope,
    history: Option<History>,
) -> Attempted<H> {
    let Failure { error, class, panic } = failure;
    let history = History::after(history, error.to_string());
    let (services, policy) = (&context.services, &context.policy);
    context.metrics.error();
    let (topic, partition, offset) =
        (origin.source.topic.as_str(), origin.source.partition, origin.offset);
    let (attempt, panicked) = (history.attempts, panic.is_some());
    let shown = excerpt::error(&history.error);
    warn!(kind = "envelope", topic, partition, offset, attempt, panicked, error = %shown, "envelope failed");

    let is_single = origin.is_last || services.failing_keys.contains(origin.lane);
    let attempts = if is_single { 1 } else { policy.retry.attempts };
    let (delay, is_blocked, task) = if class == Class::Transient && history.attempts < attempts {
        context.metrics.retry();
        let delay = policy.retry.delay(history.attempts, origin.offset);
        (Some(delay), false, Task::Handle(parsed))
    } else {
        match &policy.terminal {
            TerminalPolicy::Block => {
                context.metrics.retry();
                (Some(policy.retry.max), true, Task::Handle(parsed))
            }
            TerminalPolicy::Skip => {
                error!(kind = "envelope", topic, partition, offset, attempt, error = %shown, "envelope skipped");
                context.metrics.skipped();
                if origin.has_key {
                    services.failing_keys.add(origin.lane);
                }
                let outcome = panic.map_or(Outcome::Failed(error), Outcome::Panicked);
                return Attempted::Done(outcome);
            }
            // The letter needs the whole message, which the handler has consumed. The worker
            // continues at once with the message of the job: a copy beforehand would cost every
            // message that succeeds.
            TerminalPolicy::DeadLetter { .. } => (None, false, Task::WriteDeadLetter(error)),
            TerminalPolicy::Park { .. } => (None, false, Task::Park(Parking::give_up(error))),
        }
    };
    let outcome =
        panic.map_or_else(|| Outcome::Failed(history.error.clone().into()), Outcome::Panicked);
    let next = Box::new(Next { context: Arc::clone(context), task, history, span: None });
    Attempted::Again(Again { delay, outcome, is_blocked, next })
}

/// Publishes the dead letter of an envelope that is given up. The key is blocked as long as the
/// letter cannot be written.
async fn publish_dead_letter<H>(
    context: &Arc<HandlerContext<H>>,
    message: &Message,
    lane: u64,
    history: History,
    cause: HandlerError,
) -> Attempted<H> {
    let TerminalPolicy::DeadLetter { topic: dead_letters, format } = &context.policy.terminal
    else {
        return Attempted::Done(Outcome::Failed(cause));
    };
    let (services, attempt) = (&context.services, history.attempts);
    let (topic, partition, offset) =
        (message.topic().as_str(), message.partition(), message.offset);
    let key = message.label_excerpt();
    let letter = Letter { message, history: &history, group: &services.group, format: *format };
    match dead_letter::write(&*services.broker, dead_letters, &letter).await {
        Ok(()) => {
            let error = excerpt::error(&cause);
            error!(kind = "envelope", topic, partition, offset, %key, attempt, %dead_letters, %error, "dead letter written");
            context.metrics.dead_letter();
            services.state.unwritable.lock().take();
            if !matches!(message.route, Route::RoundRobin(_)) {
                services.failing_keys.add(lane);
            }
            Attempted::Done(Outcome::Failed(cause))
        }
        Err(reason) => {
            let shown = excerpt::error(&reason);
            error!(kind = "envelope", topic, partition, offset, %key, attempt, %dead_letters, reason = %shown, "dead letter not written, key blocked");
            *services.state.unwritable.lock() = Some(format!("{dead_letters}: {reason}"));
            let task = Task::WriteDeadLetter(cause);
            let next = Next { context: Arc::clone(context), task, history, span: None };
            Attempted::Again(Again {
                delay: Some(context.policy.retry.max),
                outcome: Outcome::Failed(reason.into()),
                is_blocked: true,
                next: Box::new(next),
            })
        }
    }
}
