//! Traces that go through a bus: W3C Trace Context in the headers of messages.
//!
//! The bus continues traces and never begins one. What a handler publishes belongs to the trace of
//! the message that it handles; what is published elsewhere belongs to the [`scope`] that it is
//! published in, or to the trace that the [`Tracer`] names. A record that brings a `traceparent` of
//! its own keeps it, and without any of these none is written.
//!
//! Not a tracer: the bus makes a `tracing` span for each delivery while somebody listens, and no
//! ids. Without a [`Tracer`], the context of a message is handed on as it is, so that the next one
//! in the chain still knows who was the last to record.

pub use buslane_core::{TraceContext, TraceContextError};
use tracing::Span;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The context that a publish of this task belongs to: in a handler that of its message, elsewhere
/// that of [`scope`].
///
/// A task that a handler spawns begins without one. Hand it over:
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
/// // As an HTTP handler would: continue what came in, or begin.
/// let came_in = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(came_in).unwrap_or_else(|_| TraceContext::begin());
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

/// A tracer that knows ids, such as that of OpenTelemetry: see `docs/tracing.md` for one in twenty
/// lines.
///
/// Both methods are called on threads that run handlers, or that publish. They must not block. A
/// panic is that of the handler, or of the publisher.
pub trait Tracer: Send + Sync + 'static {
    /// A delivery begins whose span somebody listens to: `span` is made, and nobody has entered it
    /// yet. `producer` is what the message says of its trace.
    ///
    /// This is the time to make the one the parent of the other, or to link them.
    fn delivered(&self, span: &Span, producer: Option<&TraceContext>);

    /// Which context something that is published now belongs to. `None` leaves it to [`current`].
    fn current(&self) -> Option<TraceContext>;
}
