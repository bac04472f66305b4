//! Captures the log lines and spans of a scenario's threads. Not global, because scenarios run
//! concurrently.

use super::spans::{SpanSeen, Spans};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};
use tracing_core::span::Current;

/// A log line.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The level.
    pub level: Level,
    /// The module that logged it.
    pub target: &'static str,
    /// The text.
    pub text: String,
    /// The other fields.
    pub fields: BTreeMap<&'static str, String>,
    /// The number of the span around it, from 1; 0 outside of captured spans.
    pub span: u64,
}

impl LogLine {
    /// The value of a field; empty when it is missing.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.text)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.text);
        } else {
            self.fields.insert(field.name(), value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The lines that buslane has logged, in order, without those of other libraries.
#[derive(Clone, Default)]
pub struct LogCapture {
    lines: Arc<Mutex<Vec<LogLine>>>,
    spans: Arc<Spans>,
}

impl LogCapture {
    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<LogLine> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines with exactly this text.
    #[must_use]
    pub fn saying(&self, text: &str) -> Vec<LogLine> {
        self.lines().into_iter().filter(|line| line.text == text).collect()
    }

    /// Captures spans from now on. Until then they are disabled.
    pub fn follow_spans(&self) {
        self.spans.follow();
    }

    /// The captured spans, in the order of their creation.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanSeen> {
        self.spans.all()
    }

    /// The number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing was logged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Subscriber for LogCapture {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // A scenario may begin to capture spans at any time.
        if metadata.is_span() { Interest::sometimes() } else { interest(self.enabled(metadata)) }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("buslane")
            && (metadata.is_event() || self.spans.are_followed())
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.spans.begin(attributes)
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        self.spans.record(id, values);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let (level, target, span) = (*metadata.level(), metadata.target(), self.spans.entered());
        let mut line =
            LogLine { level, target, text: String::new(), fields: BTreeMap::new(), span };
        event.record(&mut line);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn enter(&self, id: &span::Id) {
        self.spans.enter(id);
    }

    fn exit(&self, _: &span::Id) {
        self.spans.exit();
    }

    fn current_span(&self) -> Current {
        self.spans.current()
    }

    fn clone_span(&self, id: &span::Id) -> span::Id {
        self.spans.count(id, 1);
        id.clone()
    }

    fn try_close(&self, id: span::Id) -> bool {
        self.spans.count(&id, -1) == 0
    }
}

fn interest(is_any: bool) -> Interest {
    if is_any { Interest::always() } else { Interest::never() }
}
