//! The span of a delivery, and the trace context that its handler publishes in.
//!
//! A delivery without either costs a look-up in its headers and two flags.

use super::attempt::Services;
use crate::trace::within;
use buslane_core::{
    Backend, Message, Outcome, Step, TraceContext, Verdict, broker::header, excerpt,
};
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

/// The target of delivery spans, for filters.
const TARGET: &str = "buslane::delivery";

/// The span of a delivery, from its first attempt to its end.
pub(super) struct DeliverySpan {
    span: Span,
    context: Option<TraceContext>,
    /// The last attempt so far. Recorded at the end: some subscribers show every recorded value of
    /// a field.
    attempt: u32,
    /// The outcome of the delivery, if it ends now.
    outcome: &'static str,
}

impl DeliverySpan {
    /// `None` when no subscriber wants the span and the message belongs to no trace.
    pub(super) fn begin(services: &Services, message: &Message) -> Option<Box<Self>> {
        let context = TraceContext::of(&message.headers);
        let is_wanted = span_enabled!(target: TARGET, Level::INFO);
        (is_wanted || context.is_some()).then(|| Box::new(Self::new(services, message, context)))
    }

    #[cold]
    fn new(services: &Services, message: &Message, context: Option<TraceContext>) -> Self {
        let span = span_of(services, message, context.as_ref());
        if let Some(tracer) = services.tracer.get().filter(|_| !span.is_disabled()) {
            tracer.delivered(&span, context.as_ref());
        }
        Self { span, context, attempt: message.attempt, outcome: "abandoned" }
    }

    /// Sets the number of the attempt that starts.
    pub(super) const fn attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    /// Enters the span between two attempts.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.span.enter()
    }

    /// Closes the span of a delivery that has ended.
    #[cold]
    pub(super) fn close(mut self, outcome: &Outcome) {
        self.outcome = match outcome {
            Outcome::Ok => "ok",
            Outcome::Failed(_) => "failed",
            Outcome::Panicked(_) => "panicked",
            Outcome::Abandoned => "abandoned",
        };
    }

    /// Runs a part of an attempt in the span and the trace context.
    fn run<T>(&mut self, run: impl FnOnce() -> T) -> T {
        /// Tells a panic from a future that is dropped between two polls.
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

impl Drop for DeliverySpan {
    fn drop(&mut self) {
        self.span.record("buslane.attempt", self.attempt);
        self.span.record("buslane.outcome", self.outcome);
        if self.outcome != "ok" {
            self.span.record("error.type", self.outcome);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

/// A span with the fields of OpenTelemetry's conventions for messaging. It is a root: the delivery
/// is independent of the worker's earlier work.
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

/// The result of an attempt, which decides on the end of the delivery's span.
pub(super) trait CarrySpan {
    /// Closes the span with the delivery, or moves it to the next attempt.
    fn carry_span(self, span: Option<Box<DeliverySpan>>) -> Step;
}

impl CarrySpan for Outcome {
    fn carry_span(self, span: Option<Box<DeliverySpan>>) -> Step {
        if let Some(span) = span {
            span.close(&self);
        }
        Step::Done(self)
    }
}

impl CarrySpan for Verdict {
    fn carry_span(self, span: Option<Box<DeliverySpan>>) -> Step {
        Outcome::from(self).carry_span(span)
    }
}

pin_project! {
    /// An attempt of a delivery that may have a span.
    pub(super) struct Traced<F> {
        span: Option<Box<DeliverySpan>>,
        #[pin]
        attempt: F,
    }
}

impl<F> Traced<F> {
    pub(super) const fn new(span: Option<Box<DeliverySpan>>, attempt: F) -> Self {
        Self { span, attempt }
    }
}

impl<F: Future<Output: CarrySpan>> Future for Traced<F> {
    type Output = Step;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let this = self.project();
        let attempted = match this.span {
            None => this.attempt.poll(cx),
            Some(span) => span.run(|| this.attempt.poll(cx)),
        };
        attempted.map(|attempted| attempted.carry_span(this.span.take()))
    }
}
