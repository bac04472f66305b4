//! Envelopes: attempts until one succeeds, then the terminal policy.
//!
//! A message that failed keeps its place at the head of its lane. What the next attempt has to know
//! travels in the job's state, so the body is parsed once whatever happens.

use super::{
    attempt::{Erased, Policy, Services, Shared},
    blocked::Entry,
    dead_letter::{self, History, Letter},
    follow::{Follow, Followed},
    route::{Parsed, aggregate_header},
};
use crate::{Class, Terminal};
use buslane_core::{
    AttemptSlot, Envelope, EnvelopeError, ErasedHandler, Event, Handler, HandlerError,
    HandlerPanicked, Job, JobState, Kind, Layout, Local, Message, Outcome, Retry as Again, Route,
    Step, Verdict, broker::header, excerpt,
};
use std::{sync::Arc, time::Duration};
use tracing::{error, warn};

/// Erases a handler of envelopes.
pub(crate) fn erase_envelopes<H: Handler<Event>>(
    handler: H,
    policy: Policy,
    services: Arc<Services>,
) -> Arc<Erased> {
    Erased::new(Envelopes(Arc::new(Shared { handler, policy, services })))
}

struct Envelopes<H>(Arc<Shared<H>>);

/// What an envelope's next attempt has to know.
#[allow(
    clippy::large_enum_variant,
    reason = "it lives in a box, and the large variant is the common one"
)]
enum State {
    /// Its body, parsed by routing or an earlier attempt, and the failures so far.
    Parsed(Parsed, Option<History>),
    /// It is given up, and its dead letter is still to be written.
    Dead(History, HandlerError),
}

/// What a job of envelopes keeps between attempts.
struct Kept {
    state: State,
    /// Put here when the attempt that goes before has ended.
    followed: Option<Box<Followed>>,
}

struct Input {
    message: Message,
    lane: u64,
    /// The broker delivers it no more.
    is_last: bool,
    /// Boxed, because it is rare and large.
    state: Option<Box<Kept>>,
}

/// The state of a job whose body was parsed to route it.
pub(super) fn parsed_state(parsed: Parsed) -> Box<JobState> {
    boxed(State::Parsed(parsed, None))
}

fn boxed(state: State) -> Box<JobState> {
    Box::new(Box::new(Kept { state, followed: None }))
}

/// Keeps a delivery that is tried again.
fn keep(again: &mut Again, followed: Box<Followed>) {
    if let Some(kept) = again.state.as_mut().and_then(|state| (**state).downcast_mut::<Kept>()) {
        kept.followed = Some(followed);
    }
}

impl<H: Handler<Event>> ErasedHandler for Envelopes<H> {
    fn kind(&self) -> Kind {
        Kind::Envelope
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        let mut state = job.state.take().and_then(|state| (*state).downcast::<Kept>().ok());
        let followed = state.as_mut().and_then(|kept| kept.followed.take());
        let mut followed = followed.or_else(|| Followed::begin(&self.0.services, &job.message));
        if let Some(followed) = &mut followed
            && !matches!(state.as_deref(), Some(Kept { state: State::Dead(..), .. }))
        {
            followed.attempt(job.message.attempt);
        }
        let input = Input {
            message: job.message.clone(),
            lane: job.lane,
            is_last: job.settlement.is_last(),
            state,
        };
        slot.start(&self.0, (input, followed), |shared, (input, followed)| {
            Follow::new(followed, keep, attempt(shared, input))
        });
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        if let Outcome::Abandoned = outcome {
            self.0.services.left.note(&job.message);
        }
    }

    fn blocked(&self, message: &Message, state: &mut Option<Box<JobState>>) {
        let Some(Kept { state, followed }) =
            state.as_mut().and_then(|state| (**state).downcast_mut())
        else {
            return;
        };
        // The line of a dead letter that was not written has been said.
        let is_said = matches!(state, State::Dead(..));
        let (State::Parsed(_, Some(history)) | State::Dead(history, _)) = state else { return };
        let keys = &self.0.services.troubles.blocked;
        let entry = history.blocked.get_or_insert_with(|| Arc::new(Entry::new(keys)));
        entry.tell(message, history.attempts, &history.error);
        if !is_said {
            let _entered = followed.as_ref().map(|followed| followed.enter());
            let (topic, partition, offset) =
                (message.topic().as_str(), message.partition(), message.offset);
            let (key, attempt, error) =
                (message.label_excerpt(), history.attempts, excerpt::error(&history.error));
            error!(kind = "envelope", topic, partition, offset, %key, attempt, %error, "key blocked");
        }
    }

    /// A classifier or an error's own text panicked: a failed attempt like another. What the
    /// attempts before knew is lost with it, but their number.
    fn panicked(&self, job: &mut Job, text: String) -> Step {
        let message = &job.message;
        let before = message.attempt.checked_sub(1).filter(|attempts| *attempts > 0);
        let history =
            before.map(|attempts| History { attempts, ..History::after(None, String::new()) });
        let place = Place::of(message, job.lane, job.settlement.is_last());
        let failure = Failure {
            panic: Some(text.clone()),
            ..Failure::transient(HandlerPanicked(text).into())
        };
        failed(&self.0, &place, failure, Layout::read(&message.payload), history)
    }
}

async fn attempt<H: Handler<Event>>(shared: Local<Shared<H>>, input: Input) -> Step {
    let Input { mut message, lane, is_last, state } = input;
    let (parsed, history) = match state.map(|kept| kept.state) {
        None => (Layout::read(&message.payload), None),
        Some(State::Parsed(parsed, history)) => (parsed, history),
        Some(State::Dead(history, cause)) => {
            return Box::pin(bury(&shared, &message, lane, history, cause)).await;
        }
    };
    let place = Place::of(&message, lane, is_last);
    let read = parsed.and_then(|layout| open(&message, layout));
    let (kept, envelope) = match read {
        Ok(read) => read,
        Err(error) => {
            let kept = Err(error.clone());
            return failed(&shared, &place, Failure::permanent(error.into()), kept, history);
        }
    };
    message.attempt = history.as_ref().map_or(0, |history| history.attempts) + 1;
    match shared.judge_caught(Event { envelope, message }, place.offset).await {
        Ok(Verdict::Done) => {
            shared.services.suspects.clear(lane);
            Step::Done(Outcome::Ok)
        }
        Ok(Verdict::Failed(error)) => {
            let class = (shared.policy.classifier)(&error);
            failed(&shared, &place, Failure { error, class, panic: None }, Ok(kept), history)
        }
        Ok(Verdict::Retry(error)) => {
            failed(&shared, &place, Failure::transient(error), Ok(kept), history)
        }
        Ok(Verdict::Reject(error)) => {
            failed(&shared, &place, Failure::permanent(error), Ok(kept), history)
        }
        Err(panic) => {
            let failure =
                Failure { panic: Some(panic.0.clone()), ..Failure::transient(panic.into()) };
            failed(&shared, &place, failure, Ok(kept), history)
        }
    }
}

fn open(message: &Message, layout: Layout) -> Result<(Layout, Envelope), EnvelopeError> {
    if message.headers.find(header::RAW_HEADERS).is_some() {
        return Err(EnvelopeError::UnreadableHeaders);
    }
    let envelope = layout.envelope(&message.payload);
    same_aggregate(message, &envelope).map(|()| (layout, envelope))
}

/// What a handler of envelopes gets of a message that was routed.
pub(super) fn event_of(message: Message) -> Result<Event, HandlerError> {
    let (_, envelope) = Layout::read(&message.payload).and_then(|layout| open(&message, layout))?;
    Ok(Event { envelope, message })
}

/// A header that names an aggregate must name that of the body: one that routes would give an
/// aggregate two lanes. Where an extractor has named the lane, headers are its own affair.
fn same_aggregate(message: &Message, envelope: &Envelope) -> Result<(), EnvelopeError> {
    let header = match &message.route {
        Route::Header { .. } => message.routing_key(),
        Route::RoundRobin(_) => {
            aggregate_header(&message.headers)?.map(|range| message.headers.at(range))
        }
        _ => None,
    };
    match header {
        Some(header) if header != envelope.aggregate_id.as_bytes() => {
            Err(EnvelopeError::AggregateIdMismatch {
                header: excerpt::field(header).to_string(),
                body: envelope.aggregate_id.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// Where a message stands, for decisions and log lines.
struct Place {
    lane: u64,
    /// Whether the lane is that of a key, not of this message alone.
    has_key: bool,
    /// Whether nobody gets it any more if it is not given up here.
    is_last: bool,
    offset: u64,
    source: Arc<buslane_core::Source>,
}

impl Place {
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

#[cold]
fn failed<H>(
    shared: &Shared<H>,
    place: &Place,
    failure: Failure,
    parsed: Parsed,
    history: Option<History>,
) -> Step {
    let Failure { error, class, panic } = failure;
    let history = History::after(history, error.to_string());
    let (services, policy) = (&shared.services, &shared.policy);
    services.metrics.error(Kind::Envelope);
    let (topic, partition, offset) =
        (place.source.topic.as_str(), place.source.partition, place.offset);
    let (attempt, panicked) = (history.attempts, panic.is_some());
    let shown = excerpt::error(&history.error);
    warn!(kind = "envelope", topic, partition, offset, attempt, panicked, error = %shown, "envelope failed");

    let has_one = place.is_last || services.suspects.contains(place.lane);
    let attempts = if has_one { 1 } else { policy.retry.attempts };
    let again = |delay, blocked, state| {
        let outcome = panic
            .clone()
            .map_or_else(|| Outcome::Failed(history.error.clone().into()), Outcome::Panicked);
        let is_retry = matches!(state, State::Parsed(..));
        Step::Again(Box::new(Again {
            delay,
            is_retry,
            outcome,
            blocked,
            state: Some(boxed(state)),
        }))
    };
    if class == Class::Transient && history.attempts < attempts {
        services.metrics.retry();
        let delay = policy.retry.delay(history.attempts, place.offset);
        return again(delay, false, State::Parsed(parsed, Some(history.clone())));
    }
    match &policy.terminal {
        Terminal::Block => {
            services.metrics.retry();
            again(policy.retry.max, true, State::Parsed(parsed, Some(history.clone())))
        }
        Terminal::Skip => {
            error!(kind = "envelope", topic, partition, offset, attempt, error = %shown, "envelope skipped");
            services.metrics.skipped();
            if place.has_key {
                services.suspects.add(place.lane);
            }
            Step::Done(panic.map_or(Outcome::Failed(error), Outcome::Panicked))
        }
        Terminal::DeadLetter { .. } => {
            again(Duration::ZERO, false, State::Dead(history.clone(), error))
        }
    }
}

/// Writes the dead letter of an envelope that is given up.
async fn bury<H>(
    shared: &Shared<H>,
    message: &Message,
    lane: u64,
    history: History,
    cause: HandlerError,
) -> Step {
    let Terminal::DeadLetter { topic: dead_letters, format } = &shared.policy.terminal else {
        return Step::Done(Outcome::Failed(cause));
    };
    let (services, attempt) = (&shared.services, history.attempts);
    let (topic, partition, offset) =
        (message.topic().as_str(), message.partition(), message.offset);
    let key = message.label_excerpt();
    let letter = Letter { message, history: &history, group: &services.group, format: *format };
    match dead_letter::write(&*services.broker, dead_letters, &letter).await {
        Ok(()) => {
            let error = excerpt::error(&cause);
            error!(kind = "envelope", topic, partition, offset, %key, attempt, %dead_letters, %error, "dead letter written");
            services.metrics.dead_letter();
            services.troubles.unwritable.lock().take();
            if !matches!(message.route, Route::RoundRobin(_)) {
                services.suspects.add(lane);
            }
            Step::Done(Outcome::Failed(cause))
        }
        Err(reason) => {
            let shown = excerpt::error(&reason);
            error!(kind = "envelope", topic, partition, offset, %key, attempt, %dead_letters, reason = %shown, "dead letter not written, key blocked");
            *services.troubles.unwritable.lock() = Some(format!("{dead_letters}: {reason}"));
            let outcome = Outcome::Failed(reason.into());
            let state = Some(boxed(State::Dead(history, cause)));
            Step::Again(Box::new(Again {
                delay: shared.policy.retry.max,
                is_retry: false,
                outcome,
                blocked: true,
                state,
            }))
        }
    }
}
