//! The positions of an envelope's fields in its body.
//!
//! A body is parsed once. The result keeps positions instead of texts, because a text costs a
//! reference count and the next attempt may never come.

use super::{
    Envelope, EnvelopeError, RawJson, fast_path,
    wire::{Fields, Wire},
};
use crate::Text;
use bytes::Bytes;
use time::OffsetDateTime;

/// The result of parsing a body. It yields the envelope any number of times without parsing again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    event_id: Span,
    aggregate_id: Span,
    event_type: Span,
    trace_id: Span,
    correlation_id: Span,
    payload: Span,
    event_version: i64,
    tenant_id: i64,
    timestamp: OffsetDateTime,
    /// The envelope itself, if the body writes one of its texts with escapes.
    escaped: Option<Box<Envelope>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    len: usize,
}

impl Layout {
    /// Parses and checks a body.
    ///
    /// # Errors
    /// As [`Envelope::decode`].
    pub fn read(body: &Bytes) -> Result<Self, EnvelopeError> {
        // Checking the whole body is several times cheaper than checking each text.
        let text = std::str::from_utf8(body).map_err(|error| EnvelopeError::NotAnEnvelope {
            reason: format!("not UTF-8: {error}"),
        })?;
        if let Some(fields) = fast_path::read(text) {
            return Ok(Self::of(body, &fields, fields.check()?));
        }
        let wire = Wire::read(text)?;
        let fields = wire.fields();
        let timestamp = fields.check()?;
        let escaped = wire.is_escaped().then(|| Box::new(fields.envelope(body, timestamp)));
        Ok(Self { escaped, ..Self::of(body, &fields, timestamp) })
    }

    fn of(body: &Bytes, fields: &Fields<'_>, timestamp: OffsetDateTime) -> Self {
        let span = |text: &str| Span::of(body, text);
        Self {
            event_id: span(fields.event_id),
            aggregate_id: span(fields.aggregate_id),
            event_type: span(fields.event_type),
            trace_id: span(fields.trace_id),
            correlation_id: span(fields.correlation_id),
            payload: span(fields.payload),
            event_version: fields.event_version,
            tenant_id: fields.tenant_id,
            timestamp,
            escaped: None,
        }
    }

    /// The envelope in the parsed body. Its texts and payload share `body`.
    ///
    /// # Panics
    /// May panic when `body` is not the body that was parsed.
    #[must_use]
    pub fn envelope(&self, body: &Bytes) -> Envelope {
        if let Some(envelope) = &self.escaped {
            return Envelope::clone(envelope);
        }
        Envelope {
            event_id: self.event_id.text(body),
            aggregate_id: self.aggregate_id.text(body),
            event_type: self.event_type.text(body),
            event_version: self.event_version,
            timestamp: self.timestamp,
            trace_id: self.trace_id.text(body),
            correlation_id: self.correlation_id.text(body),
            tenant_id: self.tenant_id,
            payload: RawJson::trusted(self.payload.bytes(body)),
        }
    }
}

impl Span {
    /// The position of `text` in `body`; empty for a text that is not part of it.
    fn of(body: &Bytes, text: &str) -> Self {
        let start = (text.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize);
        if text.is_empty() || start >= body.len() {
            Self { start: 0, len: 0 }
        } else {
            Self { start, len: text.len() }
        }
    }

    fn bytes(self, body: &Bytes) -> Bytes {
        body.slice(self.start..self.start + self.len)
    }

    fn text(self, body: &Bytes) -> Text {
        if self.len == 0 {
            return Text::new();
        }
        // The parser has already checked the text. Checking it again avoids an unsafe block.
        Text::try_from(self.bytes(body)).unwrap_or_default()
    }
}
