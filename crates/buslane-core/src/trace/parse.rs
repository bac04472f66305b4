//! The texts of W3C Trace Context, read strictly.

use std::num::{NonZeroU64, NonZeroU128};
use thiserror::Error;

/// Why a trace context cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// Of version 00 it has 55 bytes, of a later one 55, or more behind a dash.
    #[error("traceparent: must have 55 bytes, found {0}")]
    Length(usize),
    /// Two lower-case hexadecimal digits, not `ff`.
    #[error("traceparent: version must be two lower-case hexadecimal digits and not ff")]
    Version,
    /// 32 lower-case hexadecimal digits, not all zero.
    #[error("traceparent: trace-id must be 32 lower-case hexadecimal digits and not zero")]
    TraceId,
    /// 16 lower-case hexadecimal digits, not all zero.
    #[error("traceparent: parent-id must be 16 lower-case hexadecimal digits and not zero")]
    SpanId,
    /// Two lower-case hexadecimal digits.
    #[error("traceparent: trace-flags must be two lower-case hexadecimal digits")]
    Flags,
    /// Its parts are joined by dashes.
    #[error("traceparent: parts must be joined by dashes")]
    Dash,
    /// It is printable ASCII.
    #[error("tracestate: must be printable ASCII")]
    State,
}

/// `version-trace_id-parent_id-flags`.
const LENGTH: usize = 55;

/// Trace id, span id and flags.
pub(super) fn traceparent(text: &[u8]) -> Result<(NonZeroU128, NonZeroU64, u8), TraceContextError> {
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

/// Its entries are the tracers' own affair.
pub(super) fn tracestate(text: &[u8]) -> Result<(), TraceContextError> {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    if text.iter().all(is_printable) { Ok(()) } else { Err(TraceContextError::State) }
}

/// Up to 32 lower-case digits.
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
