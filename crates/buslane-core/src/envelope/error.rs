//! What can be wrong with an envelope.

use crate::key::AggregateIdError;
use thiserror::Error;

/// A broken rule of the envelope format; each names its field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The body is not a JSON object of the expected field types.
    #[error("not an envelope: {reason}")]
    NotAnEnvelope {
        /// What the parser met, with line and column.
        reason: String,
    },
    /// `event_id` is missing or blank.
    #[error("event_id is required")]
    EventIdRequired,
    /// `aggregate_id` is missing, too long or has a character that is not allowed.
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
        /// What the parser or serialiser met.
        reason: String,
    },
    /// `timestamp` is not RFC 3339, or lies outside the years 0 to 9999.
    #[error("timestamp must be RFC 3339 within the years 0 to 9999: {reason}")]
    Timestamp {
        /// What is wrong with it.
        reason: String,
    },
    /// The message came with headers that cannot be read.
    #[error("headers cannot be read: their bytes are in X-Raw-Headers")]
    UnreadableHeaders,
    /// The header that names the aggregate holds no aggregate id.
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
