//! Traces that go through a bus: W3C Trace Context in the headers of messages.
//!
//! The bus continues traces and never begins one. A publish inside a handler belongs to the trace
//! of the handled message; a publish elsewhere belongs to its [`scope`], or to the trace that the
//! [`Tracer`] names. A record with a `traceparent` of its own keeps it. Without any of these no
//! context is written.
//!
//! Not a tracer: the bus makes a `tracing` span for each delivery while a subscriber is interested,
//! and makes no ids. Without a [`Tracer`] it passes the context of a message on unchanged, so the
//! next consumer still sees the last recorded span as its parent.

pub use buslane_core::{TraceContext, TraceContextError};
use tracing::Span;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The trace context of a publish from this task: in a handler that of its message, elsewhere that
/// of the [`scope`].
///
/// A task that a handler spawns starts without a context. Pass it on:
/// `tokio::spawn(trace::scope(context, future))`.
#[must_use]
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(TraceContext::clone).ok()
}

/// Runs a future whose publishes belong to `context`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use buslane::{Config, EventBus, trace::{self, TraceContext}};
///
/// let bus = EventBus::connect(Config::default()).await?;
/// // As in an HTTP handler: continue the trace of the request, or begin one.
/// let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(traceparent).unwrap_or_else(|_| TraceContext::begin());
/// trace::scope(context, bus.publish("cache.invalidate", "sku-7")).await?;
/// # Ok(())
/// # }
/// ```
pub async fn scope<F: Future>(context: TraceContext, future: F) -> F::Output {
    CURRENT.scope(context, future).await
}

/// Runs a function whose publishes belong to `context`.
pub(crate) fn within<T>(context: &TraceContext, run: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(context.clone(), run)
}

/// A tracer that makes ids, such as that of OpenTelemetry: `docs/tracing.md` has one in twenty
/// lines.
///
/// Both methods run on the threads of handlers and publishers, and must not block. A panic counts
/// as one of the handler, or of the publisher.
///
/// ```
/// use buslane::{Config, EventBus, trace::{TraceContext, Tracer}};
/// use tracing::Span;
///
/// struct Printer;
///
/// impl Tracer for Printer {
///     fn delivered(&self, span: &Span, producer: Option<&TraceContext>) {
///         println!("{:?} continues {producer:?}", span.id());
///     }
///
///     fn current(&self) -> Option<TraceContext> {
///         None // as if there were no tracer
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(Config::default()).await?;
/// assert!(bus.set_tracer(Printer));
/// assert!(!bus.set_tracer(Printer), "one at most");
/// # Ok(())
/// # }
/// ```
pub trait Tracer: Send + Sync + 'static {
    /// Called when a delivery begins and a subscriber records its `span`, before the span is
    /// entered. `producer` is the trace context of the message: make it the parent of the span, or
    /// link the two.
    fn delivered(&self, span: &Span, producer: Option<&TraceContext>);

    /// The trace context of a publish that begins now. `None` leaves it to [`current`].
    fn current(&self) -> Option<TraceContext>;
}
