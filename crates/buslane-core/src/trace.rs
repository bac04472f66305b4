//! The trace that a message belongs to, in the headers of W3C Trace Context (version 00).
//!
//! It is not a tracer: it creates no spans and sends nothing. It reads, carries and writes two
//! headers.

use crate::{Headers, Record, broker::header};
use bytes::Bytes;
use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
};
use thiserror::Error;
use uuid::Uuid;

/// A position in a trace: the trace, and the span that is the parent of later spans.
///
/// Its `Display` form is the value of the header `traceparent`.
///
/// ```
/// use buslane_core::TraceContext;
///
/// let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
/// assert!(context.is_sampled());
/// assert_eq!(context.span_id(), 0x00f0_67aa_0ba9_02b7);
/// # Ok::<(), buslane_core::TraceContextError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
    /// The value of `tracestate`; usually empty.
    state: Bytes,
}

/// The flags of version 00: sampled, and random trace id. The other flags are zero.
const FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

impl TraceContext {
    /// The context of a tracer. `None` if an id is zero, which is invalid.
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

    /// A new trace for callers without a tracer, with unique ids. It is sampled.
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
    /// The rule that the text breaks. A later version is read as far as version 00 defines it.
    pub fn parse(traceparent: impl AsRef<[u8]>) -> Result<Self, TraceContextError> {
        let (trace_id, span_id, flags) = parse_traceparent(traceparent.as_ref())?;
        Ok(Self { trace_id, span_id, flags: flags & FLAGS, state: Bytes::new() })
    }

    /// Adds a `tracestate`, which is carried unchanged.
    ///
    /// # Errors
    /// The text contains a byte that is not printable ASCII.
    pub fn with_state(self, tracestate: impl Into<Bytes>) -> Result<Self, TraceContextError> {
        let state = tracestate.into();
        check_tracestate(&state)?;
        Ok(Self { state, ..self })
    }

    /// The context in the headers of a message. Names match in any case, because Go's header types
    /// change the case.
    ///
    /// As the standard requires, invalid headers are ignored: an invalid or repeated `traceparent`
    /// is no context, and an invalid `tracestate` is empty. Repeated `tracestate` headers are
    /// joined.
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

    /// The id of the trace.
    #[must_use]
    pub const fn trace_id(&self) -> u128 {
        self.trace_id.get()
    }

    /// The id of the parent span.
    #[must_use]
    pub const fn span_id(&self) -> u64 {
        self.span_id.get()
    }

    /// Whether the caller records the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The `tracestate`; empty if there is none.
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
    /// Makes the record a part of a trace. Replaces the trace that it belonged to.
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

    /// Whether the record has a `traceparent`, valid or not.
    #[must_use]
    pub fn has_trace(&self) -> bool {
        self.headers.values_in_any_case(header::TRACEPARENT).next().is_some()
    }
}

/// Why a trace context is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// Version 00 has 55 bytes. A later version has 55, or more after a dash.
    #[error("traceparent: must have 55 bytes, found {0}")]
    Length(usize),
    /// The version is two lower-case hexadecimal digits, and not `ff`.
    #[error("traceparent: version must be two lower-case hexadecimal digits and not ff")]
    Version,
    /// The trace id is 32 lower-case hexadecimal digits, not all zero.
    #[error("traceparent: trace-id must be 32 lower-case hexadecimal digits and not zero")]
    TraceId,
    /// The parent id is 16 lower-case hexadecimal digits, not all zero.
    #[error("traceparent: parent-id must be 16 lower-case hexadecimal digits and not zero")]
    SpanId,
    /// The flags are two lower-case hexadecimal digits.
    #[error("traceparent: trace-flags must be two lower-case hexadecimal digits")]
    Flags,
    /// Dashes join the parts.
    #[error("traceparent: parts must be joined by dashes")]
    Dash,
    /// The `tracestate` is printable ASCII.
    #[error("tracestate: must be printable ASCII")]
    State,
}

/// `version-trace_id-parent_id-flags`.
const LENGTH: usize = 55;

/// Reads trace id, span id and flags.
fn parse_traceparent(text: &[u8]) -> Result<(NonZeroU128, NonZeroU64, u8), TraceContextError> {
    use TraceContextError as Error;
    let Some((known, rest)) = text.split_at_checked(LENGTH) else {
        return Err(Error::Length(text.len()));
    };
    let version = hex(&known[..2]).filter(|version| *version != 0xff).ok_or(Error::Version)?;
    if !rest.is_empty() && (version == 0 || rest[0] != b'-') {
        return Err(Error::Length(text.len()));
    }
    if [2, 35, 52].iter().any(|dash| known[*dash] != b'-') {
        return Err(Error::Dash);
    }
    let trace_id = hex(&known[3..35]).and_then(NonZeroU128::new).ok_or(Error::TraceId)?;
    let span_id =
        hex(&known[36..52]).and_then(|id| u64::try_from(id).ok()).and_then(NonZeroU64::new);
    let flags = hex(&known[53..]).and_then(|flags| u8::try_from(flags).ok()).ok_or(Error::Flags)?;
    Ok((trace_id, span_id.ok_or(Error::SpanId)?, flags))
}

/// Checks a `tracestate`. Its entries belong to the tracers.
fn check_tracestate(text: &[u8]) -> Result<(), TraceContextError> {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    if text.iter().all(is_printable) { Ok(()) } else { Err(TraceContextError::State) }
}

/// Reads up to 32 lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The rules of W3C Trace Context. SPEC: O5
#[cfg(test)]
mod tests {
    use super::*;
    use TraceContextError as Error;
    use proptest::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(list: &[(&str, &str)]) -> Headers {
        list.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
    }

    #[test]
    fn o5_a_traceparent_is_read_and_written() {
        let context = TraceContext::parse(PARENT).unwrap();
        assert_eq!(context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(
            (context.span_id(), context.is_sampled(), context.state()),
            (0x00f0_67aa_0ba9_02b7, true, "")
        );
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(TraceContext::new(context.trace_id(), context.span_id(), true), Some(context));
        assert_eq!((TraceContext::new(0, 1, true), TraceContext::new(1, 0, true)), (None, None));
    }

    #[test]
    fn o5_each_rule_of_a_traceparent_is_an_error() {
        let with = |range: std::ops::Range<usize>, part: &str| {
            let mut text = PARENT.to_owned();
            text.replace_range(range, part);
            text
        };
        for (text, error) in [
            (String::new(), Error::Length(0)),
            (PARENT[..54].to_owned(), Error::Length(54)),
            (format!("{PARENT}-"), Error::Length(56)),
            (format!("{PARENT} "), Error::Length(56)),
            (format!("01{}.what-will-be", &PARENT[2..]), Error::Length(68)),
            (with(0..2, "ff"), Error::Version),
            (with(0..2, "0x"), Error::Version),
            (with(0..2, "0A"), Error::Version),
            (with(2..3, "_"), Error::Dash),
            (with(35..36, "0"), Error::Dash),
            (with(52..53, " "), Error::Dash),
            (with(3..35, &"0".repeat(32)), Error::TraceId),
            (with(3..4, "g"), Error::TraceId),
            (with(3..4, "A"), Error::TraceId),
            (with(36..52, &"0".repeat(16)), Error::SpanId),
            (with(36..37, "F"), Error::SpanId),
            (with(53..55, ".1"), Error::Flags),
            (with(53..55, "0F"), Error::Flags),
        ] {
            assert_eq!(TraceContext::parse(&text), Err(error), "{text}");
            assert_eq!(TraceContext::of(&headers(&[("traceparent", &text)])), None, "{text}");
        }
    }

    #[test]
    fn o5_a_later_version_is_read_as_far_as_it_is_known() {
        for text in [format!("01{}", &PARENT[2..]), format!("cc{}-what-will-be", &PARENT[2..])] {
            assert_eq!(TraceContext::parse(&text).unwrap().to_string(), PARENT, "{text}");
        }
        let flags = format!("{}ff", &PARENT[..53]);
        assert_eq!(TraceContext::parse(flags).unwrap().to_string(), format!("{}03", &PARENT[..53]));
    }

    #[test]
    fn o5_headers_are_read_in_any_case_and_only_when_they_are_clear() {
        let state = |list: &[(&str, &str)]| {
            TraceContext::of(&headers(list)).map(|context| context.state().to_owned())
        };
        let parent = ("Traceparent", PARENT);
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[("tracestate", "a=1")]), None);
        assert_eq!(state(&[("x", "y"), parent]).as_deref(), Some(""));
        assert_eq!(state(&[parent, ("Tracestate", "a=1,b=2")]).as_deref(), Some("a=1,b=2"));
        assert_eq!(
            state(&[("tracestate", "a=1"), parent, ("tracestate", ""), ("tracestate", "b=2")])
                .as_deref(),
            Some("a=1,b=2")
        );
        assert_eq!(state(&[parent, ("tracestate", "a=\u{e9}")]).as_deref(), Some(""));
        assert_eq!(state(&[parent, ("tracestate", "a=1\r\nX: y")]).as_deref(), Some(""));
        assert_eq!(state(&[parent, parent]), None);
    }

    #[test]
    fn o5_a_record_is_a_part_of_one_trace() {
        let first = TraceContext::parse(PARENT).unwrap().with_state("a=1").unwrap();
        let record = Record::new("body")
            .with_key("k")
            .with_headers(headers(&[("x", "1"), ("x", "2")]))
            .with_trace(&first);
        assert!(record.has_trace());
        assert_eq!(TraceContext::of(&record.headers).as_ref(), Some(&first));
        let second = TraceContext::begin();
        let record = record.with_trace(&second);
        assert_eq!(TraceContext::of(&record.headers), Some(second.clone()));
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["x", "x", "traceparent"]);
        assert_ne!(second.trace_id(), TraceContext::begin().trace_id());
        assert!(second.is_sampled());
    }

    proptest! {
        #[test]
        fn o5_every_context_comes_back(trace_id in 1u128.., span_id in 1u64.., is_sampled: bool, state in "[ -~]{0,40}") {
            let context = TraceContext::new(trace_id, span_id, is_sampled).unwrap().with_state(state).unwrap();
            let record = Record::new("body").with_trace(&context);
            prop_assert_eq!(TraceContext::of(&record.headers), Some(context));
        }

        #[test]
        fn o5_no_bytes_make_it_panic(parent in prop::collection::vec(any::<u8>(), 0..80), state in prop::collection::vec(any::<u8>(), 0..80)) {
            let headers: Headers = [("traceparent", &parent[..]), ("tracestate", &state[..])].into_iter().collect();
            let _ = TraceContext::of(&headers);
            let _ = TraceContext::parse(&parent);
        }
    }
}
