//! What attempts of envelopes and of regular messages share: policy, services, erased handler.

use super::failing_keys::FailingKeys;
use crate::{
    Classifier, Retry,
    config::DeadLetterFormat,
    metrics::{BusMetrics, SubscriptionMetrics},
    parking::Owners,
    state::BusState,
    trace::{self, Tracer},
};
use buslane_core::{
    AttemptSlot, Broker, ErasedHandler, Handler, IntoVerdict, Job, Kind, Outcome, Step, Topic,
    TraceContext, Verdict, judge,
};
use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use thiserror::Error;

/// The parts of a bus that attempts use. A handle of the bus itself would be a reference cycle: the
/// bus owns the handlers.
pub(crate) struct Services {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) metrics: Arc<BusMetrics>,
    pub(crate) failing_keys: FailingKeys,
    /// Who owns the parked keys of each source.
    pub(crate) owners: Owners,
    /// The consumer group of this process.
    pub(crate) group: String,
    /// Set at most once.
    pub(crate) tracer: OnceLock<Box<dyn Tracer>>,
    pub(crate) state: Arc<BusState>,
}

impl Services {
    /// The trace context of a publish that begins now.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.tracer.get().and_then(|tracer| tracer.current()).or_else(trace::current)
    }
}

/// A [`Terminal`](crate::Terminal) whose topic name was checked.
#[derive(Debug)]
pub(crate) enum TerminalPolicy {
    Block,
    Skip,
    DeadLetter {
        topic: Topic,
        format: DeadLetterFormat,
    },
    /// The messages of the key are set aside in a log.
    Park {
        log: Topic,
    },
}

/// How a subscription's messages are tried: retries, terminal policy and timeout.
pub(crate) struct Policy {
    pub(crate) retry: Retry,
    pub(crate) terminal: TerminalPolicy,
    pub(crate) classifier: Classifier,
    pub(crate) timeout: Option<Duration>,
}

/// A subscription's handler with everything that its attempts need.
pub(super) struct HandlerContext<H> {
    pub(super) handler: H,
    pub(super) policy: Policy,
    pub(super) services: Arc<Services>,
    pub(super) metrics: Arc<SubscriptionMetrics>,
}

/// The error of a handler that ran longer than the
/// [`timeout`](crate::SubscriptionBuilder::timeout) of its subscription, which it holds. A
/// [`Classifier`](crate::Classifier) may look for it.
///
/// ```
/// use buslane::{HandlerError, HandlerTimedOut};
/// use std::time::Duration;
///
/// let error: HandlerError = HandlerTimedOut(Duration::from_secs(5)).into();
/// assert!(error.is::<HandlerTimedOut>());
/// assert_eq!(error.to_string(), "handler timed out after 5s");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("handler timed out after {0:?}")]
pub struct HandlerTimedOut(pub Duration);

/// One attempt in this many offsets has its time in the handler measured.
const SAMPLE: u64 = 16;

/// Runs the handler of a subscription once. `offset` decides whether its time is measured.
///
/// Without a timeout it awaits the handler directly, because each async function in between copies
/// the message twice.
pub(super) async fn run_handler<M, H: Handler<M>>(
    context: impl Deref<Target = HandlerContext<H>>,
    message: M,
    offset: u64,
) -> Verdict {
    let started = offset.is_multiple_of(SAMPLE).then(Instant::now);
    let verdict = match context.policy.timeout {
        None => context.handler.handle(message).await.into_verdict(),
        timeout => run_once(&context.handler, message, timeout).await,
    };
    if let Some(started) = started {
        context.metrics.processing(started.elapsed());
    }
    verdict
}

/// Runs a handler once, within its timeout.
pub(super) async fn run_once<M, H: Handler<M>>(
    handler: &H,
    message: M,
    timeout: Option<Duration>,
) -> Verdict {
    match timeout {
        None => judge(handler, message).await,
        Some(limit) => tokio::time::timeout(limit, judge(handler, message))
            .await
            .unwrap_or_else(|_| Verdict::Failed(HandlerTimedOut(limit).into())),
    }
}

/// An erased handler that jobs of one batch share.
///
/// One reference count for all messages of a subscription would move its cache line between cores.
/// That of a batch mostly stays on one core.
pub(crate) struct Erased(Arc<dyn ErasedHandler>);

impl Erased {
    pub(super) fn new(handler: impl ErasedHandler) -> Arc<Self> {
        Arc::new(Self(Arc::new(handler)))
    }

    /// The same handler with a reference count of its own.
    pub(crate) fn for_batch(&self) -> Arc<dyn ErasedHandler> {
        Arc::new(Self(Arc::clone(&self.0)))
    }
}

impl ErasedHandler for Erased {
    fn kind(&self) -> Kind {
        self.0.kind()
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        self.0.start(job, slot);
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        self.0.ended(job, outcome);
    }

    fn panicked(&self, job: &mut Job, text: String) -> Step {
        self.0.panicked(job, text)
    }
}
