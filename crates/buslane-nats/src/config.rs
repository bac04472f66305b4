//! Settings of a connection to NATS.
//!
//! Every field has a default and an effect; the server shows the consumer's on its own consumer.

mod rules;

pub use rules::NatsConfigError;

use buslane_core::{Secret, TopicSettings};
use std::time::Duration;

/// Settings of one [`NatsBroker`](crate::NatsBroker): one reader of durable consumers and one
/// publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// `host:port` of at least one server, separated by commas. Default: `localhost:4222`.
    pub servers: String,
    /// First part of the names of the durable consumers; 1 to 100 characters of `A-Z a-z 0-9 . _
    /// -`. Default: `buslane`.
    pub group: String,
    /// Name of this client in the server's figures. Default: `buslane`.
    pub client_name: String,
    /// The consumers.
    pub consumer: ConsumerConfig,
    /// The publisher.
    pub publisher: PublisherConfig,
    /// How it proves who it is. Default: plain text without a login.
    pub security: Security,
    /// Creates the stream of a topic with these settings when it is subscribed or published to and
    /// no stream covers it. Default: `Some`, with the server's defaults; `None`: a missing stream
    /// is an error. Their partitions are those of [`NatsConfig::partitions`].
    pub create_missing: Option<TopicSettings>,
    /// How the keys of a topic are shared out to the members of a group. Default:
    /// [`Partitions::Auto`].
    pub partitions: Partitions,
    /// Topics that live in core NATS alone: nothing is stored, and only who listens gets a message.
    /// Default: none.
    pub ephemeral: Vec<String>,
    /// How long establishing a connection may take. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long a request to the server may take. Default: 5 s.
    pub request_timeout: Duration,
    /// How often the connection is proven alive. Default: 20 s.
    pub ping_interval: Duration,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: "localhost:4222".to_owned(),
            group: "buslane".to_owned(),
            client_name: "buslane".to_owned(),
            consumer: ConsumerConfig::default(),
            publisher: PublisherConfig::default(),
            security: Security::default(),
            create_missing: Some(TopicSettings::default()),
            partitions: Partitions::default(),
            ephemeral: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(20),
        }
    }
}

/// How the keys of a topic are shared out to the members of a group. A stream that exists keeps the
/// partitions it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitions {
    /// A stream that is created for envelopes has [`Partitions::DEFAULT`] of them, one for regular
    /// messages has none. One member at a time reads a partition, or a topic of envelopes that has
    /// none; on servers before 2.10, which have no leases, as [`Partitions::Shared`], with a
    /// warning. The default.
    #[default]
    Auto,
    /// As [`Partitions::Auto`], and a stream that is created has so many, 1 to 1,024. A topic of
    /// envelopes whose stream has another number, or none, is refused.
    Exactly(u32),
    /// A stream that is created has none, and the members of a group share a topic that has none: a
    /// key's messages may be at several members at once, in any order.
    Shared,
}

impl Partitions {
    /// Partitions of a stream that is created for envelopes.
    pub const DEFAULT: u32 = 8;
}

/// Where a durable consumer begins that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest message that the stream has. The default.
    #[default]
    Earliest,
    /// Behind the newest.
    Latest,
}

/// Settings of the durable consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Where a new one begins. Default: the oldest message.
    pub start: Start,
    /// After how long without a sign of life the server delivers a message again; a third of it is
    /// the beat of what waits or runs. Default: 30 s.
    pub ack_wait: Duration,
    /// How often the server delivers a message; `None`: without end, the bus counts attempts. The
    /// last delivery says so ([`Settlement::is_last`](buslane_core::Settlement::is_last)); what is
    /// given back of it, or is open in a crash, does not come again. Default: `None`.
    pub max_deliver: Option<u32>,
    /// Waits before the server's own redeliveries; replaces `ack_wait`. Default: none.
    pub backoff: Vec<Duration>,
    /// Open messages of one durable consumer, over all its readers. Default: 100,000.
    pub max_ack_pending: u32,
    /// Copies of the consumer's state; `None`: as many as the stream has. Default: `None`.
    pub replicas: Option<u16>,
    /// Whether the consumer's state lives in memory. Default: `false`, where the stream's does.
    pub memory_storage: bool,
    /// Messages that are fetched ahead of the reader, for each source. Default: 1,000.
    pub prefetch: u32,
    /// How long one request for messages stands at the server. Default: 30 s.
    pub expires: Duration,
    /// How often the server says that a request still stands. Default: 5 s.
    pub heartbeat: Duration,
    /// How long open messages of a partition that moves to another member are awaited. Default: 10
    /// s.
    pub drain_deadline: Duration,
    /// How long a member of a group that partitions its topics may be silent before others take its
    /// partitions. Default: 10 s.
    pub lease: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            start: Start::default(),
            ack_wait: Duration::from_secs(30),
            max_deliver: None,
            backoff: Vec::new(),
            max_ack_pending: 100_000,
            replicas: None,
            memory_storage: false,
            prefetch: 1_000,
            expires: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            drain_deadline: Duration::from_secs(10),
            lease: Duration::from_secs(10),
        }
    }
}

impl ConsumerConfig {
    /// The longest time that the server waits for a sign of life of a message's first delivery, and
    /// the shortest.
    pub(crate) fn patience(&self) -> (Duration, Duration) {
        let longest = self.backoff.iter().max().copied().unwrap_or(self.ack_wait);
        let shortest = self.backoff.iter().min().copied().unwrap_or(self.ack_wait);
        (longest, shortest)
    }

    /// How old the last sign of life of an open message may become.
    pub(crate) fn beat(&self) -> Duration {
        self.patience().1 / 3
    }
}

/// Settings of the publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherConfig {
    /// Records that wait for the server's acknowledgement; then publishers wait. Default: 4,000.
    pub max_in_flight: u32,
    /// How long a record may take from the call to the acknowledgement. Default: 10 s.
    pub publish_timeout: Duration,
    /// How long the server knows the event ids of a stream that is created. Default: 2 min.
    pub duplicate_window: Duration,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 4_000,
            publish_timeout: Duration::from_secs(10),
            duplicate_window: Duration::from_secs(120),
        }
    }
}

/// Encryption of the connection, and proof of who the client is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Encryption. Default: none, unless the server insists; then with the authorities of the
    /// system.
    pub tls: Option<Tls>,
    /// Login. Default: none.
    pub login: Option<Login>,
}

/// Encryption of the connection. Files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates of the authorities that are trusted beside those of the system.
    pub ca_file: Option<String>,
    /// The client's certificate, for servers that ask for one.
    pub certificate_file: Option<String>,
    /// The client's key.
    pub key_file: Option<String>,
}

/// How a client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// User and password.
    User {
        /// User.
        user: String,
        /// Password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// The seed of an nkey; the server gets a signature.
    Nkey(Secret),
    /// A file with a JWT and the seed of its nkey.
    CredentialsFile(String),
}
