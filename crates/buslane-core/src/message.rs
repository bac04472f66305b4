//! A message as handlers see it, and its source.

use crate::{
    Envelope, Headers, Topic,
    excerpt::{self, Excerpt, Lossy},
};
use bytes::Bytes;
use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The delivery guarantee of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// Raw bytes. A failure is final.
    #[default]
    Regular,
    /// An envelope. Handled at least once, in order per aggregate.
    Envelope,
}

impl Kind {
    /// `regular` or `envelope`, as in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Envelope => "envelope",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The source of messages: one partition, while it is assigned to this process. A partition that
/// returns is a new source.
pub struct Source {
    /// The topic.
    pub topic: Topic,
    /// The partition; 0 where the backend has none.
    pub partition: u32,
    id: u64,
    ended: AtomicBool,
    fence: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl Source {
    /// A source that has not ended.
    #[must_use]
    pub fn new(topic: Topic, partition: u32) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { topic, partition, id, ended: AtomicBool::new(false), fence: None }
    }

    /// The number of the source, unique in this process; never 0.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Adds a fence: an attempt starts only while `may_start` returns `true`. For backends on which
    /// another process takes a partition over, without notice, from a process that was paused for
    /// long. `may_start` is called before each attempt, on the thread that runs it. It must be
    /// quick and must not panic.
    #[must_use]
    pub fn with_fence(self, may_start: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { fence: Some(Box::new(may_start)), ..self }
    }

    /// Whether an attempt may start now. Otherwise the message is abandoned.
    #[must_use]
    pub fn may_start(&self) -> bool {
        self.fence.as_ref().is_none_or(|may_start| may_start())
    }

    /// Marks the source as revoked: messages that have not started belong to another owner, and
    /// failed ones are not tried again.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the source was revoked.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, id: _, ended, fence: _ } = self;
        f.debug_struct("Source")
            .field("topic", topic)
            .field("partition", partition)
            .field("ended", ended)
            .finish()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The part of a message that holds its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Route {
    /// A header's value: this range of the packed headers.
    Header {
        /// The start of the value.
        start: u32,
        /// The length of the value.
        len: u32,
    },
    /// The key of the record.
    RecordKey,
    /// Bytes from an extractor or from the parsed body. Boxed, because they are rare and messages
    /// are moved often.
    Key(Box<Bytes>),
    /// The message has no key: it is the n-th of those that take turns.
    RoundRobin(u64),
    /// The message is not routed yet.
    #[default]
    None,
}

/// A message. Cloning it shares all buffers.
///
/// Small messages are slices of a shared page, of 4 KiB on Kafka and NATS. To retain a part of a
/// message, such as its key in a map, copy it with `Bytes::copy_from_slice`: a slice keeps its
/// whole page alive.
///
/// ```
/// use buslane_core::{Message, Topic};
///
/// // For tests of handlers.
/// let mut message = Message::new(Topic::new("orders")?, "placed");
/// message.key = Some("order-42".into());
/// assert_eq!((message.topic().as_str(), message.partition()), ("orders", 0));
/// assert_eq!(message.bytes(), 14);
/// # Ok::<(), buslane_core::TopicError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message {
    /// Topic and partition.
    pub source: Arc<Source>,
    /// Offset in the partition, or sequence in the stream.
    pub offset: u64,
    /// The timestamp of the broker or the publisher, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The key of the record.
    pub key: Option<Bytes>,
    /// The headers, in order.
    pub headers: Headers,
    /// The body.
    pub payload: Bytes,
    /// Whether the record has no body: a tombstone, which Kafka tells from an empty body. `payload`
    /// is empty then.
    pub is_null: bool,
    /// The part of the message that selects its lane.
    pub route: Route,
    /// Its delivery guarantee.
    pub kind: Kind,
    /// The number of the attempt; the first is 1. It is 0 before the first attempt.
    pub attempt: u32,
}

impl Message {
    /// A message for tests of handlers and for pools without a bus, with offset 0 and without key
    /// and headers.
    #[must_use]
    pub fn new(topic: Topic, payload: impl Into<Bytes>) -> Self {
        Self {
            source: Arc::new(Source::new(topic, 0)),
            offset: 0,
            timestamp_ms: 0,
            key: None,
            headers: Headers::new(),
            payload: payload.into(),
            is_null: false,
            route: Route::None,
            kind: Kind::Regular,
            attempt: 0,
        }
    }

    /// Moves key, headers, body and route into a new message. Everything else stays here, too.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.take(),
            headers: std::mem::take(&mut self.headers),
            payload: std::mem::take(&mut self.payload),
            is_null: self.is_null,
            route: std::mem::take(&mut self.route),
            kind: self.kind,
            attempt: self.attempt,
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.source.topic
    }

    /// The partition; 0 where the backend has none.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.source.partition
    }

    /// The timestamp as a point in time.
    #[must_use]
    pub fn timestamp(&self) -> SystemTime {
        let distance = Duration::from_millis(self.timestamp_ms.unsigned_abs());
        if self.timestamp_ms < 0 {
            SystemTime::UNIX_EPOCH - distance
        } else {
            SystemTime::UNIX_EPOCH + distance
        }
    }

    /// The routing key; `None` for a message without one.
    #[must_use]
    pub fn routing_key(&self) -> Option<&[u8]> {
        match &self.route {
            Route::Header { start, len } => {
                Some(self.headers.at(*start as usize..(*start + *len) as usize))
            }
            Route::RecordKey => self.key.as_deref(),
            Route::Key(bytes) => Some(bytes),
            Route::RoundRobin(_) | Route::None => None,
        }
    }

    /// The routing key as text; `rr-N` for the n-th message without one.
    #[must_use]
    pub fn routing_label(&self) -> String {
        RoutingLabel(self).to_string()
    }

    /// The routing label as log lines show it: escaped and truncated.
    #[must_use]
    pub const fn label_excerpt(&self) -> Excerpt<RoutingLabel<'_>> {
        Excerpt::new(RoutingLabel(self), excerpt::KEY_BYTES)
    }

    /// The size of key, headers and payload in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.headers.bytes() + self.key.as_ref().map_or(0, Bytes::len)
    }
}

/// Displays the routing key of a message, or `rr-N`.
#[derive(Clone, Copy)]
pub struct RoutingLabel<'a>(&'a Message);

impl fmt::Display for RoutingLabel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.route, self.0.routing_key()) {
            (Route::RoundRobin(n), _) => write!(f, "rr-{n}"),
            (_, Some(key)) => Lossy(key).fmt(f),
            (_, None) => Ok(()),
        }
    }
}

/// An envelope with the message that carried it. Dereferences to the envelope.
#[derive(Debug, Clone)]
pub struct Event {
    /// The parsed envelope.
    pub envelope: Envelope,
    /// The message, with source, headers and attempt.
    pub message: Message,
}

impl Deref for Event {
    type Target = Envelope;
    fn deref(&self) -> &Envelope {
        &self.envelope
    }
}
