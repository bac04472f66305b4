//! A message as handlers see it, and where it came from.

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

/// Which of the two delivery promises a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// Raw bytes; a failure is final.
    #[default]
    Regular,
    /// An envelope; at least once, in order per aggregate.
    Envelope,
}

impl Kind {
    /// `regular` or `envelope`, as logs and metric labels say it.
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

/// A place that messages come from: one partition, for as long as it is assigned to this process. A
/// partition that comes back is a new source.
pub struct Source {
    /// The topic.
    pub topic: Topic,
    /// The partition; 0 where the backend has none.
    pub partition: u32,
    id: u64,
    ended: AtomicBool,
    is_held: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl Source {
    /// A source that is assigned.
    #[must_use]
    pub fn new(topic: Topic, partition: u32) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { topic, partition, id, ended: AtomicBool::new(false), is_held: None }
    }

    /// A number of its own, of all sources of this process; never 0.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The same source, of which an attempt may start only while `is_held` says so: where others
    /// take over in silence when this process was stopped for long. Asked before each attempt, on
    /// the thread that runs it: it must be quick and must not panic.
    #[must_use]
    pub fn held_while(self, is_held: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { is_held: Some(Box::new(is_held)), ..self }
    }

    /// Whether an attempt may start now. What may not is abandoned.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_held.as_ref().is_none_or(|is_held| is_held())
    }

    /// Says that it is revoked: what has not started belongs to somebody else, and what fails is
    /// not tried again.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether it is revoked.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, id: _, ended, is_held: _ } = self;
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

/// Which part of a message named its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Route {
    /// A header's value: this range of the packed headers.
    Header {
        /// Where the value starts.
        start: u32,
        /// How long it is.
        len: u32,
    },
    /// The record's own key.
    RecordKey,
    /// Bytes that an extractor or the parsed body gave. Boxed, because it is rare and messages are
    /// moved a lot.
    Key(Box<Bytes>),
    /// No key: the n-th message that goes round-robin.
    RoundRobin(u64),
    /// Not routed yet.
    #[default]
    None,
}

/// One message with everything that is known of it. Cloning shares all buffers.
///
/// Small messages are cut from pages that they share: 4 KiB on Kafka and NATS. Who keeps a part of
/// many messages for long, such as their keys in a map, copies it (`Bytes::copy_from_slice`), or
/// each may keep its whole page.
#[derive(Debug, Clone)]
pub struct Message {
    /// Topic and partition.
    pub source: Arc<Source>,
    /// Offset in the partition, or sequence in the stream.
    pub offset: u64,
    /// When the broker or the publisher stamped it: milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The record's own key.
    pub key: Option<Bytes>,
    /// Headers in order, duplicates kept.
    pub headers: Headers,
    /// The body.
    pub payload: Bytes,
    /// It has no body at all, which on Kafka is not the same as an empty one: a tombstone.
    /// `payload` is empty then.
    pub is_null: bool,
    /// Which part of the message named its lane.
    pub route: Route,
    /// Which promise it has.
    pub kind: Kind,
    /// Which attempt this is; the first is 1, and 0 is a message that no handler has seen.
    pub attempt: u32,
}

impl Message {
    /// A message for tests of handlers and for pools without a bus: offset 0, no headers, no key.
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

    /// The bytes of the routing key, or `None` for a message that goes round-robin.
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

    /// The routing key for people: the key, or `rr-N` for the n-th message without one.
    #[must_use]
    pub fn routing_label(&self) -> String {
        RoutingLabel(self).to_string()
    }

    /// The routing label as log lines show it: escaped and cut.
    #[must_use]
    pub const fn label_excerpt(&self) -> Excerpt<RoutingLabel<'_>> {
        Excerpt::new(RoutingLabel(self), excerpt::KEY_BYTES)
    }

    /// Bytes that the message occupies: key, headers and payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.headers.bytes() + self.key.as_ref().map_or(0, Bytes::len)
    }
}

/// Shows the routing key of a message, or `rr-N`.
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

/// An envelope with the message that carried it; reads like the envelope.
#[derive(Debug, Clone)]
pub struct Event {
    /// The parsed envelope.
    pub envelope: Envelope,
    /// Where it came from, its headers, and which attempt this is.
    pub message: Message,
}

impl Deref for Event {
    type Target = Envelope;
    fn deref(&self) -> &Envelope {
        &self.envelope
    }
}
