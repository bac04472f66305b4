//! The envelope's JSON form. Writing builds no tree, and reading copies no text.
//!
//! Field names, order and omissions are those of the Go services (`encoding/json`, `RFC3339Nano`).

use super::{Envelope, EnvelopeError, Layout, RawJson, check, rfc3339};
use crate::{Text, excerpt};
use bytes::{BufMut, Bytes, BytesMut};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};
use time::OffsetDateTime;

impl Envelope {
    /// Checks the envelope and writes its JSON form.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn encode(&self) -> Result<Bytes, EnvelopeError> {
        let mut arena = BytesMut::with_capacity(self.size_hint());
        self.encode_into(&mut arena)?;
        Ok(arena.freeze())
    }

    /// As [`Envelope::encode`], but appends to `arena`, so that many envelopes share an allocation.
    /// An error leaves `arena` unchanged.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn encode_into(&self, arena: &mut BytesMut) -> Result<(), EnvelopeError> {
        self.validate()?;
        let timestamp = rfc3339::Written::new(self.timestamp)
            .map_err(|error| EnvelopeError::Timestamp { reason: error.to_string() })?;
        arena.reserve(self.size_hint());
        put_text(arena, "{\"event_id\":\"", &self.event_id);
        arena.put_slice(b"\",\"aggregate_id\":\"");
        // Validation has excluded every character that needs an escape.
        arena.put_slice(self.aggregate_id.as_bytes());
        put_text(arena, "\",\"event_type\":\"", &self.event_type);
        arena.put_slice(b"\",\"event_version\":");
        put_integer(arena, self.event_version);
        arena.put_slice(b",\"timestamp\":\"");
        arena.put_slice(timestamp.as_ref());
        if !self.trace_id.is_empty() {
            put_text(arena, "\",\"trace_id\":\"", &self.trace_id);
        }
        if !self.correlation_id.is_empty() {
            put_text(arena, "\",\"correlation_id\":\"", &self.correlation_id);
        }
        arena.put_u8(b'"');
        if self.tenant_id != 0 {
            arena.put_slice(b",\"tenant_id\":");
            put_integer(arena, self.tenant_id);
        }
        arena.put_slice(b",\"payload\":");
        arena.put_slice(self.payload.as_bytes());
        arena.put_u8(b'}');
        Ok(())
    }

    /// Reads and checks an envelope. Its texts and payload share `body`.
    ///
    /// # Errors
    /// [`EnvelopeError::NotAnEnvelope`] for anything but a JSON object with fields of the right
    /// types; otherwise the first broken rule.
    pub fn decode(body: &Bytes) -> Result<Self, EnvelopeError> {
        Ok(Layout::read(body)?.envelope(body))
    }

    /// The size of the JSON form, unless texts need escapes.
    fn size_hint(&self) -> usize {
        // Field names, punctuation, a timestamp and two integers take at most 250 bytes.
        250 + self.text_bytes() + self.payload.as_bytes().len()
    }

    /// The size of the JSON form and of its headers.
    pub(crate) fn record_size_hint(&self) -> usize {
        // Names and lengths of seven headers and two integers take at most 180 bytes.
        self.size_hint() + 180 + self.text_bytes()
    }

    fn text_bytes(&self) -> usize {
        self.event_id.len()
            + self.aggregate_id.len()
            + self.event_type.len()
            + self.trace_id.len()
            + self.correlation_id.len()
    }
}

/// The error for an unreadable `body`. Names the field of the wrong type, which the parser does
/// not.
#[cold]
fn not_an_envelope(body: &str, error: &serde_json::Error) -> EnvelopeError {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(body).unwrap_or_default();
    let misfit = |name: &&&str| {
        fields.get(**name).is_some_and(|value| match **name {
            "event_version" | "tenant_id" => serde_json::from_str::<i64>(value.get()).is_err(),
            _ => serde_json::from_str::<String>(value.get()).is_err(),
        })
    };
    let reason = match TYPED_FIELDS.iter().find(misfit) {
        Some(name) => format!("{name}: {}", excerpt::error(error)),
        None => excerpt::error(error).to_string(),
    };
    EnvelopeError::NotAnEnvelope { reason }
}

/// Every field but `payload`, which accepts any JSON.
const TYPED_FIELDS: [&str; 8] = [
    "event_id",
    "aggregate_id",
    "event_type",
    "event_version",
    "timestamp",
    "trace_id",
    "correlation_id",
    "tenant_id",
];

#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    #[serde(borrow, default)]
    event_id: Cow<'a, str>,
    #[serde(borrow, default)]
    aggregate_id: Cow<'a, str>,
    #[serde(borrow, default)]
    event_type: Cow<'a, str>,
    #[serde(default)]
    event_version: i64,
    #[serde(borrow, default = "zero_time")]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    trace_id: Cow<'a, str>,
    #[serde(borrow, default)]
    correlation_id: Cow<'a, str>,
    #[serde(default)]
    tenant_id: i64,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
}

impl<'a> Wire<'a> {
    /// Parses a body in any form.
    pub(super) fn read(body: &'a str) -> Result<Self, EnvelopeError> {
        let wire: Self =
            serde_json::from_str(body).map_err(|error| not_an_envelope(body, &error))?;
        if body.as_bytes().trim_ascii_start().first() != Some(&b'{') {
            return Err(EnvelopeError::NotAnEnvelope {
                reason: "the body is a list, not an object".to_owned(),
            });
        }
        Ok(wire)
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields {
            event_id: &self.event_id,
            aggregate_id: &self.aggregate_id,
            event_type: &self.event_type,
            event_version: self.event_version,
            timestamp: &self.timestamp,
            trace_id: &self.trace_id,
            correlation_id: &self.correlation_id,
            tenant_id: self.tenant_id,
            payload: self.payload.map_or("", RawValue::get),
        }
    }

    /// Whether the body writes a text with escapes.
    pub(super) fn is_escaped(&self) -> bool {
        [&self.event_id, &self.aggregate_id, &self.event_type, &self.trace_id, &self.correlation_id]
            .iter()
            .any(|text| matches!(text, Cow::Owned(text) if !text.is_empty()))
    }
}

/// The fields of a body before they are checked. A missing payload is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub(super) event_id: &'a str,
    pub(super) aggregate_id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) event_version: i64,
    pub(super) timestamp: &'a str,
    pub(super) trace_id: &'a str,
    pub(super) correlation_id: &'a str,
    pub(super) tenant_id: i64,
    pub(super) payload: &'a str,
}

impl Fields<'_> {
    /// Checks the rules of the format, and returns the timestamp.
    pub(super) fn check(&self) -> Result<OffsetDateTime, EnvelopeError> {
        check(
            self.event_id,
            self.aggregate_id,
            self.event_type,
            self.event_version,
            self.payload.is_empty(),
        )?;
        rfc3339::parse(self.timestamp).map_err(|error| EnvelopeError::Timestamp {
            reason: format!("\"{}\": {error}", excerpt::field(self.timestamp.as_bytes())),
        })
    }

    /// The envelope with copied texts; the payload shares `body`.
    pub(super) fn envelope(&self, body: &Bytes, timestamp: OffsetDateTime) -> Envelope {
        Envelope {
            event_id: Text::from(self.event_id),
            aggregate_id: Text::from(self.aggregate_id),
            event_type: Text::from(self.event_type),
            event_version: self.event_version,
            timestamp,
            trace_id: Text::from(self.trace_id),
            correlation_id: Text::from(self.correlation_id),
            tenant_id: self.tenant_id,
            payload: RawJson::trusted(body.slice_ref(self.payload.as_bytes())),
        }
    }
}

/// Reads a `null` payload as a JSON value; serde would read it as a missing field.
fn present<'de, D: Deserializer<'de>>(source: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(source).map(Some)
}

/// The value of a missing timestamp: the zero time, which the Go services write for an unset one.
const fn zero_time<'a>() -> Cow<'a, str> {
    Cow::Borrowed("0001-01-01T00:00:00Z")
}

/// Writes `before`, which ends with the opening quote, and `text` without its closing quote.
fn put_text(out: &mut BytesMut, before: &str, text: &str) {
    out.put_slice(before.as_bytes());
    if any_byte(text.as_bytes(), |byte| (byte < 0x20) | (byte == b'"') | (byte == b'\\')) {
        text.chars().for_each(|character| put_character(out, character));
    } else {
        out.put_slice(text.as_bytes());
    }
}

fn put_integer(out: &mut BytesMut, value: i64) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn put_character(out: &mut BytesMut, character: char) {
    match character {
        '"' => out.put_slice(b"\\\""),
        '\\' => out.put_slice(b"\\\\"),
        '\n' => out.put_slice(b"\\n"),
        '\r' => out.put_slice(b"\\r"),
        '\t' => out.put_slice(b"\\t"),
        control if control < ' ' => {
            out.put_slice(format!("\\u{:04x}", u32::from(control)).as_bytes())
        }
        other => out.put_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Whether any byte satisfies `wanted`. The loop has no early exit and works on chunks, so that the
/// compiler emits vector instructions.
#[inline]
pub(super) fn any_byte(text: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    let in_bytes = |bytes: &[u8]| bytes.iter().fold(false, |any, byte| any | wanted(*byte));
    if let Some(last) = text.last_chunk::<16>() {
        let (chunks, _) = text.as_chunks::<16>();
        return chunks.iter().fold(in_bytes(last), |any, chunk| any | in_bytes(chunk));
    }
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => in_bytes(first) | in_bytes(last),
        _ => in_bytes(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for len in 0..70 {
            assert!(!any_byte(&vec![b'a'; len], |byte| byte == b'b'));
            for at in 0..len {
                let mut text = vec![b'a'; len];
                text[at] = b'b';
                assert!(any_byte(&text, |byte| byte == b'b'), "{at} of {len}");
            }
        }
    }
}
