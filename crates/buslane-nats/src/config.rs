//! Settings of a connection to NATS: one definition each.
//!
//! Every field has a default and an effect; the server shows the consumer's on its own consumer.

mod partitions;
mod rules;
mod security;

pub use partitions::Partitions;
pub use rules::NatsConfigError;
#[cfg(feature = "client")]
pub(crate) use security::Credentials;
pub use security::{Login, Security, Tls};

use buslane_core::{TopicSettings, TopicStorage};
use buslane_settings::{
    at_least, at_most, check, choices,
    duration::{hours, millis, minutes, secs},
    kind, not_blank, range, settings,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most records on their way: the client drops what its inbox has no room for, which holds 65,536.
pub(crate) const MOST_IN_FLIGHT: u32 = 50_000;
/// Most partitions that a stream may have.
pub(crate) const MOST_PARTITIONS: u32 = 1_024;

settings! {
    /// Settings of one `NatsBroker`: durable consumers and a publisher.
    #[derive(Eq)]
    pub struct NatsConfig {
        /// Name of this client in the server's figures.
        client_name: String = "buslane".to_owned(), not_blank();
        /// How long establishing a connection may take.
        connect_timeout: Duration = secs(10), range(millis(10), hours(24));
        /// How long a request to the server may take.
        request_timeout: Duration = secs(5), range(millis(10), hours(24));
        /// How often the connection is proven alive.
        ping_interval: Duration = secs(20), range(millis(10), hours(24));
        /// Topics of core NATS: nothing is stored, and only who listens gets a message.
        ephemeral: Vec<String>, kind("list of topic names");
        /// How it reads.
        consumer: ConsumerConfig;
        /// How it writes.
        publisher: PublisherConfig;
        /// The streams of topics that no stream covers.
        stream: StreamConfig;
        /// Encryption and login; without either plain text goes over the wire, unless the server
        /// insists on encryption.
        security: Security;
    }
    given {
        /// `HOST:PORT` of at least one server, separated by commas. A bus takes them from its URL.
        pub servers: String = "localhost:4222".to_owned();
        /// The group: a part of the names of the durable consumers, 1 to 100 characters of
        /// `A-Z a-z 0-9 . _ -`. A bus gives its own.
        pub group: String = "buslane".to_owned();
    }
    also rules::ephemeral_topics;
}

/// Where a durable consumer begins that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest message that the stream has. The default.
    #[default]
    Earliest,
    /// Behind the newest.
    Latest,
}

settings! {
    /// Settings of the durable consumers. The server shows them on its own consumers.
    #[derive(Eq)]
    pub struct ConsumerConfig {
        /// Where a durable consumer begins that is new.
        start: Start;
        /// Silence after which the server delivers a message again; what waits or runs is kept
        /// alive each third of it.
        ack_wait: Duration = secs(30), range(millis(100), hours(24));
        /// How often the server delivers a message; more than `backoff` has entries. An envelope's
        /// last delivery has one attempt, then the terminal policy; where that is `block`, the
        /// envelope ends with the process. Without it there is no end: the bus counts attempts.
        max_deliver: Option<u32>, range(1, u32::MAX);
        /// Waits before the server's own redeliveries, in place of `ack_wait`.
        backoff: Vec<Duration>, kind("list of durations, each 100ms to 24h");
        /// Open messages of one durable consumer, over all its readers; nine tenths must be more
        /// than the pools may park.
        max_ack_pending: u32 = 100_000, range(1, 10_000_000);
        /// Copies of a consumer's state. Without it as many as the stream has.
        replicas: Option<u16>, range(1, 5);
        /// Whether a consumer's state lives in memory.
        memory_storage: bool = false;
        /// Messages that are fetched ahead of each source.
        prefetch: u32 = 1_000, range(1, 50_000);
        /// How long a request for messages stands at the server.
        expires: Duration = secs(30), range(secs(1), hours(24));
        /// How often the server says that a request stands; at most half of `expires`.
        heartbeat: Duration = secs(5), range(millis(100), hours(24));
        /// How long open messages of a partition that moves are awaited.
        drain_deadline: Duration = secs(10), range(Duration::ZERO, hours(24));
        /// Silence after which other members take the partitions of one.
        lease: Duration = secs(10), range(millis(300), hours(24));
    }
    also rules::consumer;
}

#[cfg(feature = "client")]
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

settings! {
    /// Settings of the publisher.
    #[derive(Eq)]
    pub struct PublisherConfig {
        /// Records that wait for their acknowledgement, then publishers wait.
        max_in_flight: u32 = 4_000, range(1, MOST_IN_FLIGHT);
        /// How long the server knows the event ids of a stream that is created.
        duplicate_window: Duration = minutes(2), range(millis(100), hours(24));
    }
    given {
        /// How long a record may take from the call to the acknowledgement; a bus gives its own.
        pub publish_timeout: Duration = secs(10);
    }
}

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// In files.
    File,
    /// In the server's memory: gone with its process.
    Memory,
}

settings! {
    /// Settings of a stream that is created because none covers a topic.
    #[derive(Eq)]
    pub struct StreamConfig {
        /// Whether a stream is created for a topic that none covers; otherwise that is an error.
        create: bool = true;
        /// Partitions of a stream that is created, each of which one member of a group reads at a
        /// time. `auto`: 8 for envelopes, none for regular messages. A number: so many, and
        /// envelopes of a topic whose stream has another number are refused. `shared`: none, and
        /// members share a topic that has none: **a key's order across processes is given up**.
        partitions: Partitions, check("1 to 1024", Partitions::are_possible);
        /// Its copies. Without it one.
        replication: Option<u16>, range(1, 5);
        /// How long it keeps messages. Without it for ever.
        retention: Option<Duration>, at_least(millis(100));
        /// How many bytes it keeps. Without it no limit.
        retention_bytes: Option<u64>, kind("integer, bytes"), at_least(1), at_most(i64::MAX.unsigned_abs());
        /// Where it keeps messages. Without it files for envelopes and memory for regular messages.
        storage: Option<Storage>;
    }
}

impl StreamConfig {
    /// What a stream is created with beside its partitions; none when none is created.
    #[must_use]
    pub fn of_missing(&self) -> Option<TopicSettings> {
        self.create.then(|| TopicSettings {
            replication: self.replication,
            retention: self.retention,
            retention_bytes: self.retention_bytes,
            storage: self.storage.map(|storage| match storage {
                Storage::File => TopicStorage::File,
                Storage::Memory => TopicStorage::Memory,
            }),
            ..TopicSettings::default()
        })
    }
}

impl From<Partitions> for StreamConfig {
    fn from(partitions: Partitions) -> Self {
        Self { partitions, ..Self::default() }
    }
}

choices!(Start, Storage);
