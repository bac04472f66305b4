//! A delivery as traces see it: its span, and the context that its handler publishes in.
//!
//! A delivery that nobody follows costs a look at its headers and at two flags.

use super::Services;
use crate::trace::within;
use buslane_core::{Backend, Message, Outcome, Retry, Step, TraceContext, broker::header, excerpt};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tracing::{
    Level, Span,
    field::{self, Empty},
    info_span,
    span::Entered,
    span_enabled,
};

/// What filters call the spans of deliveries.
const TARGET: &str = "buslane::delivery";

/// A delivery that is followed, from its first attempt to its end.
pub(super) struct Followed {
    span: Span,
    context: Option<TraceContext>,
    /// Its last attempt so far. Recorded at the end: a value that is recorded again is one more in
    /// the line of some subscribers.
    attempt: u32,
    /// What it came to, if it ends now.
    outcome: &'static str,
}

impl Followed {
    /// `None` when nobody listens and the message belongs to no trace.
    pub(super) fn begin(services: &Services, message: &Message) -> Option<Box<Self>> {
        let context = TraceContext::of(&message.headers);
        let is_seen = span_enabled!(target: TARGET, Level::INFO);
        (is_seen || context.is_some()).then(|| Box::new(Self::new(services, message, context)))
    }

    #[cold]
    fn new(services: &Services, message: &Message, context: Option<TraceContext>) -> Self {
        let span = span_of(services, message, context.as_ref());
        if let Some(tracer) = services.tracer.get().filter(|_| !span.is_disabled()) {
            tracer.delivered(&span, context.as_ref());
        }
        Self { span, context, attempt: message.attempt, outcome: "abandoned" }
    }

    /// Which attempt comes now.
    pub(super) const fn attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    /// Enters its span between two attempts.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.span.enter()
    }

    /// Goes on with its attempt.
    fn run<T>(&mut self, run: impl FnOnce() -> T) -> T {
        /// Tells a panic from a future that is dropped.
        struct Running<'a>(&'a mut &'static str);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    *self.0 = "panicked";
                }
            }
        }
        let _entered = self.span.enter();
        let _running = Running(&mut self.outcome);
        match &self.context {
            Some(context) => within(context, run),
            None => run(),
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.span.record("buslane.attempt", self.attempt);
        self.span.record("buslane.outcome", self.outcome);
        if self.outcome != "ok" {
            self.span.record("error.type", self.outcome);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

/// The span of a delivery, with the fields of OpenTelemetry's conventions for messaging. It is a
/// root: what a worker did before has nothing to do with it.
fn span_of(services: &Services, message: &Message, producer: Option<&TraceContext>) -> Span {
    if !span_enabled!(target: TARGET, Level::INFO) {
        return Span::none();
    }
    let backend = services.broker.backend();
    let text =
        |name: &str| message.headers.get(name).map(|value| field::display(excerpt::field(value)));
    info_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = format!("process {}", message.topic()),
        otel.kind = "consumer",
        messaging.system = backend.as_str(),
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = message.topic().as_str(),
        messaging.destination.partition.id = message.partition().to_string(),
        messaging.consumer.group.name = &*services.group,
        messaging.message.id = text(header::EVENT_ID),
        messaging.message.conversation_id = text(header::CORRELATION_ID),
        messaging.kafka.offset = (backend == Backend::Kafka).then_some(message.offset),
        buslane.offset = message.offset,
        buslane.kind = message.kind.as_str(),
        buslane.key = %message.label_excerpt(),
        buslane.attempt = Empty,
        buslane.outcome = Empty,
        trace_id = producer.map(|context| field::display(format!("{:032x}", context.trace_id()))),
        parent_span_id = producer.map(|context| field::display(format!("{:016x}", context.span_id()))),
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Where a delivery that is tried again is kept until then.
pub(super) type Keep = fn(&mut Retry, Box<Followed>);

pin_project! {
    /// An attempt of a delivery that may be followed.
    pub(super) struct Follow<F> {
        followed: Option<Box<Followed>>,
        keep: Keep,
        #[pin]
        attempt: F,
    }
}

impl<F> Follow<F> {
    pub(super) const fn new(followed: Option<Box<Followed>>, keep: Keep, attempt: F) -> Self {
        Self { followed, keep, attempt }
    }
}

impl<F: Future<Output = Step>> Future for Follow<F> {
    type Output = Step;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let this = self.project();
        let Some(followed) = this.followed else { return this.attempt.poll(cx) };
        let mut step = std::task::ready!(followed.run(|| this.attempt.poll(cx)));
        if let Some(followed) = this.followed.take() {
            end(&mut step, followed, *this.keep);
        }
        Poll::Ready(step)
    }
}

#[cold]
fn end(step: &mut Step, mut followed: Box<Followed>, keep: Keep) {
    match step {
        Step::Again(retry) => keep(retry, followed),
        Step::Done(outcome) => {
            followed.outcome = match outcome {
                Outcome::Ok => "ok",
                Outcome::Failed(_) => "failed",
                Outcome::Panicked(_) => "panicked",
                Outcome::Abandoned => "abandoned",
            };
        }
    }
}
