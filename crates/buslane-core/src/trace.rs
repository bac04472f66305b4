//! Which trace a message belongs to, as W3C Trace Context (version 00) writes it into headers.
//!
//! Not a tracer: it makes no spans and sends nothing. It reads, carries and writes two headers.

mod parse;

pub use parse::TraceContextError;

use crate::{Headers, Record, broker::header};
use bytes::Bytes;
use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
};
use uuid::Uuid;

/// A place in a trace: the trace, and the span in it that whatever follows is caused by.
///
/// Displayed, it is the value of the header `traceparent`.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
    /// The value of `tracestate`; mostly empty.
    state: Bytes,
}

/// Flags that version 00 knows: sampled, and that the trace id is random. The others are zero.
const FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

impl TraceContext {
    /// A context of a tracer. `None` for an id of zero, which is none.
    #[must_use]
    pub fn new(trace_id: u128, span_id: u64, is_sampled: bool) -> Option<Self> {
        let (trace_id, span_id) = (NonZeroU128::new(trace_id)?, NonZeroU64::new(span_id)?);
        Some(Self {
            trace_id,
            span_id,
            flags: if is_sampled { SAMPLED } else { 0 },
            state: Bytes::new(),
        })
    }

    /// A new trace, for callers without a tracer: sampled, with ids that nobody else has.
    #[must_use]
    pub fn begin() -> Self {
        // The variant of a UUID is in its lower half, so neither half is zero.
        let span_id = NonZeroU64::new(Uuid::now_v7().as_u64_pair().1).unwrap_or(NonZeroU64::MIN);
        let trace_id = NonZeroU128::new(Uuid::now_v7().as_u128()).unwrap_or(NonZeroU128::MIN);
        Self { trace_id, span_id, flags: SAMPLED, state: Bytes::new() }
    }

    /// Reads a `traceparent`.
    ///
    /// # Errors
    /// The rule that it breaks. A version that is not known yet is read as far as version 00 goes.
    pub fn parse(traceparent: impl AsRef<[u8]>) -> Result<Self, TraceContextError> {
        let (trace_id, span_id, flags) = parse::traceparent(traceparent.as_ref())?;
        Ok(Self { trace_id, span_id, flags: flags & FLAGS, state: Bytes::new() })
    }

    /// The same with a `tracestate`, which is carried as it is.
    ///
    /// # Errors
    /// A byte that is no printable character of ASCII.
    pub fn with_state(self, tracestate: impl Into<Bytes>) -> Result<Self, TraceContextError> {
        let state = tracestate.into();
        parse::tracestate(&state)?;
        Ok(Self { state, ..self })
    }

    /// The context that headers carry. Names are read in any case, because Go's header types change
    /// it.
    ///
    /// What breaks a rule is as good as not there, as the standard wants it: a `traceparent` that
    /// cannot be read, or two of them, is no context, and a `tracestate` that cannot be read is
    /// none. Several of these are one list.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        let mut parents = headers.values_in_any_case(header::TRACEPARENT);
        let parent = parents.next()?;
        if parents.next().is_some() { None } else { Self::read(parent, headers) }
    }

    #[cold]
    fn read(parent: &[u8], headers: &Headers) -> Option<Self> {
        let context = Self::parse(parent).ok()?;
        let mut states =
            headers.values_in_any_case(header::TRACESTATE).filter(|state| !state.is_empty());
        let Some(first) = states.next() else { return Some(context) };
        let mut list = first.to_vec();
        for state in states {
            list.push(b',');
            list.extend_from_slice(state);
        }
        Some(context.clone().with_state(list).unwrap_or(context))
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(&self) -> u128 {
        self.trace_id.get()
    }

    /// The span that whatever follows is caused by.
    #[must_use]
    pub const fn span_id(&self) -> u64 {
        self.span_id.get()
    }

    /// Whether the trace is recorded where it came from.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What tracers have to say to each other; empty when nothing.
    #[must_use]
    pub fn state(&self) -> &str {
        std::str::from_utf8(&self.state).unwrap_or_default()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self}; {})", self.state())
    }
}

impl Record {
    /// The same record as a part of a trace, in place of one that it was a part of.
    #[must_use]
    pub fn with_trace(self, context: &TraceContext) -> Self {
        let is_of_trace = |name: &str| {
            [header::TRACEPARENT, header::TRACESTATE]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        };
        let mut headers = Headers::builder();
        if self.has_trace() {
            for (name, value) in self.headers.iter().filter(|(name, _)| !is_of_trace(name)) {
                headers.push(name, value);
            }
        } else {
            headers.extend(&self.headers);
        }
        headers.push(header::TRACEPARENT, context.to_string());
        if !context.state.is_empty() {
            headers.push(header::TRACESTATE, &context.state);
        }
        Self { headers: headers.build(), ..self }
    }

    /// Whether it says already which trace it is a part of, in a form that can be read or not.
    #[must_use]
    pub fn has_trace(&self) -> bool {
        self.headers.values_in_any_case(header::TRACEPARENT).next().is_some()
    }
}

#[cfg(test)]
mod tests;
