//! What is published, and the broker's receipt for it.

use crate::{Envelope, EnvelopeError, Headers, Message, Topic};
use bytes::{Bytes, BytesMut};

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
    /// Which trace a message belongs to: W3C Trace Context.
    pub const TRACEPARENT: &str = "traceparent";
    /// What tracers say to each other of that trace.
    pub const TRACESTATE: &str = "tracestate";
    /// Where an aggregate id is looked for, in this order.
    pub const AGGREGATE_ID_SPELLINGS: [&str; 5] =
        [AGGREGATE_ID, "x-aggregate-id", "Aggregate-ID", "aggregate-id", "aggregateID"];
    /// The whole block of headers, byte by byte, of a message whose headers cannot be read.
    pub const RAW_HEADERS: &str = "X-Raw-Headers";
    /// Dead letters: topic the message came from.
    pub const ORIGINAL_TOPIC: &str = "X-Original-Topic";
    /// Dead letters: partition it came from.
    pub const ORIGINAL_PARTITION: &str = "X-Original-Partition";
    /// Dead letters: its offset or sequence.
    pub const ORIGINAL_OFFSET: &str = "X-Original-Offset";
    /// Dead letters: its timestamp in milliseconds since the Unix epoch.
    pub const ORIGINAL_TIMESTAMP: &str = "X-Original-Timestamp";
    /// Dead letters: the group that gave it up.
    pub const ORIGINAL_GROUP: &str = "X-Original-Group";
    /// Dead letters: the last error.
    pub const ERROR_MESSAGE: &str = "X-Error-Message";
    /// Dead letters: attempts made.
    pub const ATTEMPTS: &str = "X-Attempts";
    /// Dead letters: RFC 3339 time of the first failure.
    pub const FIRST_FAILURE: &str = "X-First-Failure";
    /// Dead letters: RFC 3339 time of the last failure.
    pub const LAST_FAILURE: &str = "X-Last-Failure";
    /// Dead letters that were cut: which parts, each with the size that is left and the size that
    /// it had.
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
pub struct Record {
    /// Decides the partition, and the lane where no header does.
    pub key: Option<Bytes>,
    /// Headers in order.
    pub headers: Headers,
    /// The body.
    pub payload: Bytes,
    /// It has no body at all, which on Kafka is not the same as an empty one: a tombstone.
    /// `payload` is empty then. NATS stores an empty body.
    pub is_null: bool,
}

/// Bytes of a chunk that the records of a batch are cut from. A record that waits long keeps its
/// chunk alive, so a chunk is a page and not a batch.
const CHUNK: usize = 4096;

impl Record {
    /// A record of bytes alone.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { key: None, headers: Headers::new(), payload: payload.into(), is_null: false }
    }

    /// A record without a body.
    #[must_use]
    pub fn null() -> Self {
        Self { is_null: true, ..Self::default() }
    }

    /// The same record with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same record with these headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The record of an envelope: its JSON, its aggregate id as key, and the headers of the format.
    ///
    /// `arena` is where the bytes are cut from; keep it between calls and many records share an
    /// allocation. What it holds is dropped.
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

    /// Bytes of key, headers and payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.headers.bytes() + self.key.as_ref().map_or(0, Bytes::len)
    }
}

/// A payload that is already owned is moved, not copied.
macro_rules! from_owned {
    ($($payload:ty),+) => {
        $(impl From<$payload> for Record {
            fn from(payload: $payload) -> Self {
                Self::new(payload)
            }
        })+
    };
}

/// A borrowed payload is copied.
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

/// The broker's word that a record is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The topic.
    pub topic: Topic,
    /// The partition; 0 where the backend has none.
    pub partition: u32,
    /// Offset in the partition, or sequence in the stream; 0 for a duplicate on Kafka, which does
    /// not say where the first one stands.
    pub offset: u64,
    /// The broker had this record already and stored nothing new: NATS by the event id and, for a
    /// dead letter, its origin; Kafka when the client repeated a request whose answer was lost.
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
