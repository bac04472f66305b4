//! The captured spans of a scenario.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tracing::{
    Metadata,
    field::{Field, Visit},
    span,
};
use tracing_core::span::Current;

/// One span.
#[derive(Debug, Clone)]
pub struct SpanSeen {
    /// Its number, from 1.
    pub number: u64,
    /// Its name.
    pub name: &'static str,
    /// The target that filters see.
    pub target: &'static str,
    metadata: &'static Metadata<'static>,
    /// Its fields.
    pub fields: BTreeMap<&'static str, String>,
    /// The number of times it was entered.
    pub entered: usize,
    /// The number of handles; the span has ended when there is none.
    pub handles: i64,
}

impl SpanSeen {
    /// The value of a field; empty when it is missing.
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

    /// Changes the number of a span's handles, and returns it.
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
