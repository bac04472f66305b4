//! Captures the log lines and spans of a scenario's threads. Not global, because scenarios run
//! concurrently.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_core::span::Current;

/// A log line.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The level.
    pub level: Level,
    /// The module that logged the line.
    pub target: &'static str,
    /// The text.
    pub text: String,
    /// The other fields.
    pub fields: BTreeMap<&'static str, String>,
    /// The number of the surrounding span, from 1; 0 outside of captured spans.
    pub span: u64,
}

impl LogLine {
    /// The value of a field; empty when the field is missing.
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

/// The lines logged by buslane, in order. Lines of other libraries are ignored.
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

    /// Captures spans from now on. Until the first call, spans are disabled.
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

/// One span.
#[derive(Debug, Clone)]
pub struct SpanSeen {
    /// The span's number, from 1.
    pub number: u64,
    /// The span's name.
    pub name: &'static str,
    /// The target that filters see.
    pub target: &'static str,
    metadata: &'static Metadata<'static>,
    /// The span's fields.
    pub fields: BTreeMap<&'static str, String>,
    /// The number of times the span was entered.
    pub entered: usize,
    /// The number of live handles. The span has ended when none is left.
    pub handles: i64,
}

impl SpanSeen {
    /// The value of a field; empty when the field is missing.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for SpanSeen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// All spans since capturing began.
#[derive(Default)]
pub(super) struct Spans {
    are_followed: AtomicBool,
    all: Mutex<Vec<SpanSeen>>,
}

thread_local! {
    /// The spans that this thread has entered.
    static ENTERED: RefCell<Vec<span::Id>> = const { RefCell::new(Vec::new()) };
}

impl Spans {
    pub(super) fn follow(&self) {
        self.are_followed.store(true, Relaxed);
    }

    pub(super) fn are_followed(&self) -> bool {
        self.are_followed.load(Relaxed)
    }

    pub(super) fn all(&self) -> Vec<SpanSeen> {
        self.lock().clone()
    }

    pub(super) fn begin(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut all = self.lock();
        let (number, metadata) = (all.len() as u64 + 1, attributes.metadata());
        let (name, target) = (metadata.name(), metadata.target());
        let mut seen = SpanSeen {
            number,
            name,
            target,
            metadata,
            fields: BTreeMap::new(),
            entered: 0,
            handles: 1,
        };
        attributes.record(&mut seen);
        all.push(seen);
        span::Id::from_u64(number)
    }

    pub(super) fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        self.change(id, |seen| values.record(seen));
    }

    pub(super) fn enter(&self, id: &span::Id) {
        self.change(id, |seen| seen.entered += 1);
        ENTERED.with_borrow_mut(|entered| entered.push(id.clone()));
    }

    pub(super) fn exit(&self) {
        ENTERED.with_borrow_mut(Vec::pop);
    }

    /// The number of this thread's current span; 0 for none.
    pub(super) fn entered(&self) -> u64 {
        ENTERED.with_borrow(|entered| entered.last().map_or(0, span::Id::into_u64))
    }

    /// This thread's current span, for `Subscriber::current_span`.
    pub(super) fn current(&self) -> Current {
        let current =
            |id: &span::Id| Current::new(id.clone(), self.change(id, |seen| seen.metadata));
        ENTERED.with_borrow(|entered| entered.last().map_or_else(Current::none, current))
    }

    /// Changes the number of a span's handles by `step`, and returns the new number.
    pub(super) fn count(&self, id: &span::Id, step: i64) -> i64 {
        self.change(id, |seen| {
            seen.handles += step;
            seen.handles
        })
    }

    fn change<T>(&self, id: &span::Id, change: impl FnOnce(&mut SpanSeen) -> T) -> T {
        let at = usize::try_from(id.into_u64() - 1).expect("spans are few");
        change(&mut self.lock()[at])
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SpanSeen>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
