//! The envelope: one event of one aggregate, and the rules it must keep.
//!
//! Not a message: where an event came from and how often it was tried is in
//! [`Message`](crate::Message).

mod error;
mod layout;
mod raw_json;
mod rfc3339;
mod scan;
mod usual;
mod wire;

pub use error::EnvelopeError;
pub use layout::Layout;
pub use raw_json::RawJson;

use crate::{
    Text,
    key::{AggregateIdError, check_aggregate_id},
};
use serde::Serialize;
use time::OffsetDateTime;

/// One event of one aggregate, in the wire format that services in other languages share.
///
/// Cloning is cheap: texts and payload share the buffer they were read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Names the event; [`Envelope::new`] makes a UUID version 7. Not blank.
    pub event_id: Text,
    /// Names the aggregate, and with it the lane. At most 256 bytes of `A-Z a-z 0-9 : _ - . /`.
    pub aggregate_id: Text,
    /// What happened. Not blank.
    pub event_type: Text,
    /// Version of the event's schema or of the aggregate, as the application counts. Above 0; 1 by
    /// default.
    pub event_version: i64,
    /// When it happened. Nanoseconds are kept, and so is the offset. The time of creation by
    /// default.
    pub timestamp: OffsetDateTime,
    /// Trace that the event belongs to; left out on the wire when empty.
    pub trace_id: Text,
    /// What the event answers; left out on the wire when empty.
    pub correlation_id: Text,
    /// Tenant; 0 means none and is left out on the wire.
    pub tenant_id: i64,
    /// The event itself, as JSON that is never re-encoded.
    pub payload: RawJson,
}

impl Envelope {
    /// An envelope with a new id (UUID version 7), version 1 and the present time.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadNotJson`] when `payload` does not serialise. The other rules are
    /// checked on publishing, or now by [`Envelope::validate`].
    pub fn new(
        aggregate_id: impl Into<Text>,
        event_type: impl Into<Text>,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Self, EnvelopeError> {
        Ok(Self::with_payload(aggregate_id, event_type, RawJson::encode(payload)?))
    }

    /// As [`Envelope::new`], with a payload that is JSON already.
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
    /// The first rule that is broken; the error names the field.
    pub fn validate(&self) -> Result<(), EnvelopeError> {
        let Self { event_id, aggregate_id, event_type, event_version, payload, .. } = self;
        check(event_id, aggregate_id, event_type, *event_version, payload.is_empty())
    }
}

/// The rules of the format, for an envelope and for a parsed body alike.
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
    // Nearly every text starts with a letter or a digit.
    !text.bytes().next().is_some_and(|byte| byte.is_ascii_graphic())
        && text.chars().all(char::is_whitespace)
}

fn new_event_id() -> Text {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text: &str = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
    Text::from(text)
}
