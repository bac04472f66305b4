//! The envelope: one event of one aggregate, and the rules it must keep.
//!
//! It does not say where an event came from or how often it was tried; [`Message`](crate::Message)
//! does.

mod fast_path;
mod layout;
mod rfc3339;
mod wire;

pub use layout::Layout;

use crate::{
    Text,
    key::{AggregateIdError, check_aggregate_id},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use thiserror::Error;
use time::OffsetDateTime;

/// One event of one aggregate, in the wire format that services in other languages share.
///
/// Cloning is cheap: texts and payload share the buffer that they were read from.
///
/// ```
/// use buslane_core::Envelope;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Placed {
///     items: u32,
/// }
///
/// let envelope = Envelope::new("order-42", "OrderPlaced", &Placed { items: 3 })?;
/// let body = envelope.encode()?;
/// let read = Envelope::decode(&body)?;
/// assert_eq!(read, envelope);
/// assert_eq!(read.payload.parse::<Placed>()?.items, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Identifies the event; [`Envelope::new`] generates a UUID version 7. Not blank.
    pub event_id: Text,
    /// Identifies the aggregate, and so selects the lane. At most 256 bytes of
    /// `A-Z a-z 0-9 : _ - . /`.
    pub aggregate_id: Text,
    /// The event's type, such as `OrderPlaced`. Not blank.
    pub event_type: Text,
    /// Version of the event's schema or of the aggregate, by the application's own convention.
    /// Above 0. Default: 1.
    pub event_version: i64,
    /// When the event happened. Nanoseconds and the UTC offset are kept. Default: the time of
    /// creation.
    pub timestamp: OffsetDateTime,
    /// The trace that the event belongs to; omitted on the wire when empty.
    pub trace_id: Text,
    /// The request that the event belongs to; omitted on the wire when empty.
    pub correlation_id: Text,
    /// The tenant; 0 means none and is omitted on the wire.
    pub tenant_id: i64,
    /// The event's data, as JSON that is never re-encoded.
    pub payload: RawJson,
}

impl Envelope {
    /// Creates an envelope with a new id (UUID version 7), version 1 and the present time.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadNotJson`] when `payload` does not serialise. Publishing checks the
    /// other rules, and so does [`Envelope::validate`].
    pub fn new(
        aggregate_id: impl Into<Text>,
        event_type: impl Into<Text>,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Self, EnvelopeError> {
        Ok(Self::with_payload(aggregate_id, event_type, RawJson::encode(payload)?))
    }

    /// As [`Envelope::new`], with a payload that is already JSON.
    #[must_use]
    pub fn with_payload(
        aggregate_id: impl Into<Text>,
        event_type: impl Into<Text>,
        payload: RawJson,
    ) -> Self {
        Self {
            event_id: new_event_id(),
            aggregate_id: aggregate_id.into(),
            event_type: event_type.into(),
            event_version: 1,
            timestamp: OffsetDateTime::now_utc(),
            trace_id: Text::new(),
            correlation_id: Text::new(),
            tenant_id: 0,
            payload,
        }
    }

    /// Checks every rule of the format.
    ///
    /// # Errors
    /// The first broken rule; the error names the field.
    pub fn validate(&self) -> Result<(), EnvelopeError> {
        let Self { event_id, aggregate_id, event_type, event_version, payload, .. } = self;
        check(event_id, aggregate_id, event_type, *event_version, payload.is_empty())
    }
}

/// Checks the rules that envelopes and parsed bodies share.
fn check(
    event_id: &str,
    aggregate_id: &str,
    event_type: &str,
    event_version: i64,
    no_payload: bool,
) -> Result<(), EnvelopeError> {
    if is_blank(event_id) {
        return Err(EnvelopeError::EventIdRequired);
    }
    if is_blank(aggregate_id) {
        return Err(EnvelopeError::AggregateId(AggregateIdError::Blank));
    }
    if is_blank(event_type) {
        return Err(EnvelopeError::EventTypeRequired);
    }
    if event_version <= 0 {
        return Err(EnvelopeError::EventVersion { found: event_version });
    }
    if no_payload {
        return Err(EnvelopeError::PayloadRequired);
    }
    check_aggregate_id(aggregate_id.as_bytes()).map_err(EnvelopeError::AggregateId)
}

fn is_blank(text: &str) -> bool {
    // The first byte decides for nearly every text.
    !text.bytes().next().is_some_and(|byte| byte.is_ascii_graphic())
        && text.chars().all(char::is_whitespace)
}

fn new_event_id() -> Text {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text: &str = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
    Text::from(text)
}

/// A broken rule of the envelope format; each names its field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The body is not a JSON object of the expected field types.
    #[error("not an envelope: {reason}")]
    NotAnEnvelope {
        /// The parser's message, with line and column.
        reason: String,
    },
    /// `event_id` is missing or blank.
    #[error("event_id is required")]
    EventIdRequired,
    /// `aggregate_id` is missing, too long, or contains a character that is not allowed.
    #[error(transparent)]
    AggregateId(AggregateIdError),
    /// `event_type` is missing or blank.
    #[error("event_type is required")]
    EventTypeRequired,
    /// `event_version` is missing, zero or negative.
    #[error("event_version must be positive, found {found}")]
    EventVersion {
        /// The refused version.
        found: i64,
    },
    /// `payload` is missing or empty.
    #[error("payload is required")]
    PayloadRequired,
    /// `payload` is not one JSON value.
    #[error("payload must be JSON: {reason}")]
    PayloadNotJson {
        /// The message of the parser or serialiser.
        reason: String,
    },
    /// `timestamp` is not RFC 3339, or lies outside the years 0 to 9999.
    #[error("timestamp must be RFC 3339 within the years 0 to 9999: {reason}")]
    Timestamp {
        /// The rule that the timestamp breaks.
        reason: String,
    },
    /// The headers of the message cannot be read.
    #[error("headers cannot be read: their bytes are in X-Raw-Headers")]
    UnreadableHeaders,
    /// The header that names the aggregate holds no valid aggregate id.
    #[error("header {name}: {error}")]
    AggregateIdHeader {
        /// Name of the header.
        name: &'static str,
        /// The rule that its value breaks.
        error: AggregateIdError,
    },
    /// The header and the body name different aggregates.
    #[error("aggregate_id differs: header says \"{header}\", body says \"{body}\"")]
    AggregateIdMismatch {
        /// Aggregate id of the header that routed the message: an [excerpt](crate::excerpt) of it.
        header: String,
        /// Aggregate id of the parsed body.
        body: String,
    },
}

/// One JSON value as text, or no value. Its bytes are carried as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Serialises `value`.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadNotJson`] when `value` has no JSON form.
    pub fn encode(value: &(impl Serialize + ?Sized)) -> Result<Self, EnvelopeError> {
        serde_json::to_vec(value).map(|text| Self(text.into())).map_err(not_json)
    }

    /// Wraps text that is already JSON, after checking that it is one value.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadRequired`] for empty text, and [`EnvelopeError::PayloadNotJson`] for
    /// anything but one JSON value in UTF-8.
    pub fn from_bytes(text: impl Into<Bytes>) -> Result<Self, EnvelopeError> {
        let text = text.into();
        if text.is_empty() {
            return Err(EnvelopeError::PayloadRequired);
        }
        serde_json::from_slice::<&RawValue>(&text).map_err(not_json)?;
        Ok(Self(text))
    }

    /// Wraps text that a JSON parser has already accepted as one value.
    const fn trusted(text: Bytes) -> Self {
        Self(text)
    }

    /// Deserialises the value.
    ///
    /// # Errors
    /// The parser's error, with the expected type and the position.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The text.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn not_json(error: serde_json::Error) -> EnvelopeError {
    EnvelopeError::PayloadNotJson { reason: crate::excerpt::error(&error).to_string() }
}
