//! The record that a publisher hands to a broker, and the broker's receipt for it.

use crate::{Envelope, EnvelopeError, Headers, Kind, Message, Route, Source, Topic};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Names of the headers that the bus writes and reads.
pub mod header {
    /// Event id of an envelope; also the broker's message id on NATS.
    pub const EVENT_ID: &str = "X-Event-ID";
    /// Aggregate id of an envelope.
    pub const AGGREGATE_ID: &str = "X-Aggregate-ID";
    /// Event version of an envelope.
    pub const EVENT_VERSION: &str = "X-Event-Version";
    /// Event type of an envelope.
    pub const EVENT_TYPE: &str = "X-Event-Type";
    /// Trace id, when set.
    pub const TRACE_ID: &str = "X-Trace-ID";
    /// Correlation id, when set.
    pub const CORRELATION_ID: &str = "X-Correlation-ID";
    /// Tenant id, when set.
    pub const TENANT_ID: &str = "X-Tenant-ID";
    /// The trace that a message belongs to (W3C Trace Context).
    pub const TRACEPARENT: &str = "traceparent";
    /// Data that tracers pass to each other with the trace.
    pub const TRACESTATE: &str = "tracestate";
    /// The headers in which an aggregate id is looked for, in this order.
    pub const AGGREGATE_ID_SPELLINGS: [&str; 5] =
        [AGGREGATE_ID, "x-aggregate-id", "Aggregate-ID", "aggregate-id", "aggregateID"];
    /// The raw bytes of all headers, in a message whose headers cannot be read.
    pub const RAW_HEADERS: &str = "X-Raw-Headers";
    /// Dead letters: the topic that the message came from.
    pub const ORIGINAL_TOPIC: &str = "X-Original-Topic";
    /// Dead letters: the partition that the message came from.
    pub const ORIGINAL_PARTITION: &str = "X-Original-Partition";
    /// Dead letters: the offset or sequence of the message.
    pub const ORIGINAL_OFFSET: &str = "X-Original-Offset";
    /// Dead letters: the timestamp of the message, in milliseconds since the Unix epoch.
    pub const ORIGINAL_TIMESTAMP: &str = "X-Original-Timestamp";
    /// Dead letters: the group that gave the message up.
    pub const ORIGINAL_GROUP: &str = "X-Original-Group";
    /// Dead letters: the last error.
    pub const ERROR_MESSAGE: &str = "X-Error-Message";
    /// Dead letters: attempts made.
    pub const ATTEMPTS: &str = "X-Attempts";
    /// Dead letters: RFC 3339 time of the first failure.
    pub const FIRST_FAILURE: &str = "X-First-Failure";
    /// Dead letters: RFC 3339 time of the last failure.
    pub const LAST_FAILURE: &str = "X-Last-Failure";
    /// Dead letters that were truncated: each truncated part, with its remaining and its original
    /// size.
    pub const TRUNCATED: &str = "X-Truncated";
}

/// One record to publish.
///
/// Bytes, text and a received [`Message`] convert into a record. `Bytes`, `Vec<u8>` and `String`
/// are moved; `&str`, `&String` and `&[u8]` are copied. `Bytes::from_static` publishes a static
/// payload without a copy.
///
/// ```
/// use buslane_core::{Message, Record, Topic};
/// use bytes::Bytes;
///
/// let name = String::from("placed");
/// let copied = Record::from(name.as_str());
/// let shared = Record::from(Bytes::from_static(b"placed"));
/// assert_eq!(copied, shared);
///
/// // A message is published again as it was received.
/// let message = Message::new(Topic::new("orders")?, "placed");
/// assert_eq!(Record::from(&message), shared);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Selects the partition, and the lane unless a header selects it.
    pub key: Option<Bytes>,
    /// Headers in order.
    pub headers: Headers,
    /// The body.
    pub payload: Bytes,
    /// Whether the record has no body: a tombstone. Kafka tells it from an empty body; NATS stores
    /// an empty body. `payload` is empty then.
    pub is_null: bool,
}

/// Bytes of a chunk that records are cut from. A record that waits long keeps its chunk alive, so a
/// chunk has the size of a page and not of a batch.
const CHUNK: usize = 4096;

impl Record {
    /// A record without key and headers.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { key: None, headers: Headers::new(), payload: payload.into(), is_null: false }
    }

    /// A record without a body.
    #[must_use]
    pub fn null() -> Self {
        Self { is_null: true, ..Self::default() }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Replaces the headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The message that a broker delivers when this record is stored at `offset` of `source`. It
    /// has no route yet, and no attempt.
    ///
    /// ```
    /// use buslane_core::{Record, Source, Topic};
    ///
    /// let source = Source::new(Topic::new("orders")?, 3).into();
    /// let record = Record::new("placed").with_key("order-42");
    /// let message = record.into_message(source, 17, 1_700_000_000_000);
    /// assert_eq!((message.partition(), message.offset, message.attempt), (3, 17, 0));
    /// # Ok::<(), buslane_core::TopicError>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn into_message(self, source: Arc<Source>, offset: u64, timestamp_ms: i64) -> Message {
        let Self { key, headers, payload, is_null } = self;
        Message {
            source,
            offset,
            timestamp_ms,
            key,
            headers,
            payload,
            is_null,
            route: Route::None,
            kind: Kind::Regular,
            attempt: 0,
        }
    }

    /// The record of an envelope: its JSON, its aggregate id as key, and the headers of the format.
    ///
    /// The bytes are cut from `arena`. Keep it between calls, so that many records share an
    /// allocation. Its previous content is dropped.
    ///
    /// # Errors
    /// The first rule of the format that the envelope breaks.
    pub fn from_envelope(envelope: &Envelope, arena: &mut BytesMut) -> Result<Self, EnvelopeError> {
        arena.clear();
        if arena.capacity() < envelope.record_size_hint() {
            *arena = BytesMut::with_capacity(CHUNK.max(envelope.record_size_hint()));
        }
        envelope.encode_into(arena)?;
        let payload = arena.split().freeze();
        let mut headers = Headers::builder_in(std::mem::take(arena));
        headers
            .push(header::EVENT_ID, envelope.event_id.as_bytes())
            .push(header::AGGREGATE_ID, envelope.aggregate_id.as_bytes())
            .push_integer(header::EVENT_VERSION, envelope.event_version)
            .push(header::EVENT_TYPE, envelope.event_type.as_bytes());
        if !envelope.trace_id.is_empty() {
            headers.push(header::TRACE_ID, envelope.trace_id.as_bytes());
        }
        if !envelope.correlation_id.is_empty() {
            headers.push(header::CORRELATION_ID, envelope.correlation_id.as_bytes());
        }
        if envelope.tenant_id != 0 {
            headers.push_integer(header::TENANT_ID, envelope.tenant_id);
        }
        let (headers, rest) = headers.build_and_return();
        *arena = rest;
        let key = headers.find(header::AGGREGATE_ID).map(|range| headers.slice(range));
        Ok(Self { key, headers, payload, is_null: false })
    }

    /// The size of key, headers and payload in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.headers.bytes() + self.key.as_ref().map_or(0, Bytes::len)
    }
}

/// Conversions that move an owned payload.
macro_rules! from_owned {
    ($($payload:ty),+) => {
        $(impl From<$payload> for Record {
            fn from(payload: $payload) -> Self {
                Self::new(payload)
            }
        })+
    };
}

/// Conversions that copy a borrowed payload.
macro_rules! from_borrowed {
    ($($payload:ty),+) => {
        $(impl From<&$payload> for Record {
            fn from(payload: &$payload) -> Self {
                Self::new(Bytes::copy_from_slice(payload.as_ref()))
            }
        })+
    };
}

from_owned!(Bytes, Vec<u8>, String);
from_borrowed!(str, String, [u8]);

/// Publishes a message again: the record has the message's key, headers and body as they are, and
/// shares their memory. A dead letter that goes back to its topic keeps the headers that describe
/// its failure.
impl From<&Message> for Record {
    fn from(message: &Message) -> Self {
        Self {
            key: message.key.clone(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
            is_null: message.is_null,
        }
    }
}

/// The broker's confirmation that a record is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The topic.
    pub topic: Topic,
    /// The partition; 0 where the backend has none.
    pub partition: u32,
    /// Offset in the partition, or sequence in the stream; 0 for a duplicate on Kafka, which does
    /// not report the offset of the first one.
    pub offset: u64,
    /// Whether the broker already had this record and stored nothing. NATS detects duplicates by
    /// the event id, and dead letters by their origin; Kafka detects a request that the client
    /// repeated because the answer was lost.
    pub duplicate: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_a_message_is_published_again_as_it_was_received() {
        let headers: Headers = [("a", &b"1"[..]), ("a", b"2")].into_iter().collect();
        let mut message = Message::new(Topic::new("orders").unwrap(), "body");
        message.key = Some(Bytes::from_static(b"key"));
        message.headers = headers.clone();
        let record = Record::from(&message);
        assert_eq!(record, Record::new("body").with_key("key").with_headers(headers));
        assert_eq!(record.payload.as_ptr(), message.payload.as_ptr(), "shared, not copied");

        let tombstone = Message { payload: Bytes::new(), is_null: true, ..message };
        assert!(Record::from(&tombstone).is_null);
    }

    #[test]
    fn b1_owned_and_borrowed_payloads_make_the_same_record() {
        let text = String::from("body");
        let expected = Record::new(Bytes::from_static(b"body"));
        assert_eq!(Record::from(&text), expected);
        assert_eq!(Record::from(text.as_str()), expected);
        assert_eq!(Record::from(text.as_bytes()), expected);
        assert_eq!(Record::from(text.clone().into_bytes()), expected);
        assert_eq!(Record::from(text), expected);
    }
}
