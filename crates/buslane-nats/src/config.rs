//! Settings of a connection to NATS, and the rules between them: one definition each.
//!
//! Every field has a default and an effect; the server shows the consumer's on its own consumer.

mod partitions;
mod security;

pub use partitions::Partitions;
#[cfg(feature = "client")]
pub(crate) use security::Credentials;
pub use security::{Login, Security, Tls};

use buslane_core::{TopicSettings, TopicStorage};
use buslane_settings::{
    BrokenRule, Value, at_least, at_most, check, choices,
    duration::{hours, millis, minutes, secs, show},
    join, judge, kind, not_blank, range, settings, topic_name,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// The largest number of records in flight: the client's inbox holds 65,536 acknowledgements, and
/// drops further ones.
pub(crate) const MOST_IN_FLIGHT: u32 = 50_000;
/// The largest number of partitions of a stream.
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
        /// Time between two checks of the connection.
        ping_interval: Duration = secs(20), range(millis(10), hours(24));
        /// Topics of core NATS: nothing is stored, and a message reaches only present listeners.
        ephemeral: Vec<String>, kind("list of topic names");
        /// The durable consumers.
        consumer: ConsumerConfig;
        /// The publisher.
        publisher: PublisherConfig;
        /// The streams of topics that no stream covers.
        stream: StreamConfig;
        /// Encryption and login; without them, everything is sent as plain text, unless the server
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
    also ephemeral_topics;
}

/// Where a new durable consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest message of the stream. The default.
    #[default]
    Earliest,
    /// After the newest message.
    Latest,
}

settings! {
    /// Settings of the durable consumers. The server shows them on its own consumers.
    #[derive(Eq)]
    pub struct ConsumerConfig {
        /// Where a new durable consumer begins.
        start: Start;
        /// Silence after which the server delivers a message again. A message that waits or runs is
        /// reported as in progress each third of it.
        ack_wait: Duration = secs(30), range(millis(100), hours(24));
        /// How often the server delivers a message; more than `backoff` has entries. An envelope's
        /// last delivery has one attempt, then the terminal policy; where that is `block`, the
        /// envelope ends with the process. Without it there is no end: the bus counts attempts.
        max_deliver: Option<u32>, range(1, u32::MAX);
        /// Waits before the server's own redeliveries, in place of `ack_wait`.
        backoff: Vec<Duration>, kind("list of durations, each 100ms to 24h");
        /// Open messages of one durable consumer, over all its readers; nine tenths must be more
        /// than the pools may keep of failing keys.
        max_ack_pending: u32 = 100_000, range(1, 10_000_000);
        /// Copies of a consumer's state. Without it as many as the stream has.
        replicas: Option<u16>, range(1, 5);
        /// Whether a consumer's state lives in memory.
        memory_storage: bool = false;
        /// Messages that are fetched ahead of each source.
        prefetch: u32 = 1_000, range(1, 50_000);
        /// How long a request for messages waits at the server.
        expires: Duration = secs(30), range(secs(1), hours(24));
        /// How often the server confirms a waiting request; at most half of `expires`.
        heartbeat: Duration = secs(5), range(millis(100), hours(24));
        /// How long a partition that moves waits for its open messages.
        drain_deadline: Duration = secs(10), range(Duration::ZERO, hours(24));
        /// Silence after which other members take over the partitions of a member.
        lease: Duration = secs(10), range(millis(300), hours(24));
    }
    also times_agree;
}

#[cfg(feature = "client")]
impl ConsumerConfig {
    /// The longest and the shortest time until the server delivers an open message again.
    pub(crate) fn ack_timeouts(&self) -> (Duration, Duration) {
        let longest = self.backoff.iter().max().copied().unwrap_or(self.ack_wait);
        let shortest = self.backoff.iter().min().copied().unwrap_or(self.ack_wait);
        (longest, shortest)
    }

    /// Time after which an open message must be reported as in progress again.
    pub(crate) fn progress_interval(&self) -> Duration {
        self.ack_timeouts().1 / 3
    }
}

settings! {
    /// Settings of the publisher.
    #[derive(Eq)]
    pub struct PublisherConfig {
        /// Records that may wait for their acknowledgement; more make publishers wait.
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
    /// In the server's memory, which is lost with the server's process.
    Memory,
}

settings! {
    /// Settings of a stream that is created because none covers a topic.
    #[derive(Eq)]
    pub struct StreamConfig {
        /// Whether a stream is created for a topic that none covers; otherwise that is an error.
        create: bool = true;
        /// Partitions of a stream that is created, each of which one member of a group reads at a
        /// time. `auto`: 8 for envelopes, none for regular messages. A number: this many, and
        /// envelopes of a topic whose stream has another number are refused. `shared`: none, and
        /// members share a topic that has none: **a key's order across processes is given up**.
        partitions: Partitions, check("1 to 1024", Partitions::are_possible);
        /// Copies of it. Without it one.
        replication: Option<u16>, range(1, 5);
        /// How long it keeps messages. Without it forever.
        retention: Option<Duration>, at_least(millis(100));
        /// How many bytes it keeps. Without it no limit.
        retention_bytes: Option<u64>, kind("integer, bytes"), at_least(1), at_most(i64::MAX.unsigned_abs());
        /// Where it keeps messages. Without it files for envelopes and memory for regular messages.
        storage: Option<Storage>;
    }
}

impl StreamConfig {
    /// The settings of a new stream, without its partitions; `None` when missing streams are not
    /// created.
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

/// The rule that a setting breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NatsConfigError {
    /// A value breaks the rule of its setting.
    #[error("nats.{0}")]
    Rule(#[from] BrokenRule),
    /// A file that a setting names cannot be used. The text contains nothing of the file's content.
    #[error("nats.{setting}: {file}: {reason}")]
    File {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        file: String,
        /// The reason.
        reason: String,
    },
}

impl NatsConfig {
    /// Checks every rule, without connecting.
    ///
    /// ```
    /// use buslane_nats::NatsConfig;
    ///
    /// let config = NatsConfig { servers: "localhost".to_owned(), ..NatsConfig::default() };
    /// let error = config.validate().expect_err("the port is missing");
    /// assert!(error.to_string().contains("must be HOST:PORT"));
    /// ```
    ///
    /// # Errors
    /// The first rule that a setting breaks.
    pub fn validate(&self) -> Result<(), NatsConfigError> {
        Value::validate(self, "")?;
        let good_host = |host: &str| {
            let port = host.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>()));
            matches!(port, Some((name, Ok(1..))) if !name.is_empty() && !name.contains(['/', '@', '?', '#', ' ']))
        };
        if !self.servers.split(',').all(good_host) {
            let found = format!("{:?}", self.servers);
            BrokenRule::because("servers", "must be HOST:PORT,HOST:PORT", found)?;
        }
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=100).contains(&self.group.len()) || !self.group.bytes().all(is_letter) {
            let rule = "must be 1 to 100 characters of A-Z a-z 0-9 . _ -";
            BrokenRule::because("group", rule, format!("{:?}", self.group))?;
        }
        let time = self.publisher.publish_timeout;
        if !(millis(1)..=hours(24)).contains(&time) {
            let rule = "must be 1 ms to 24 h";
            BrokenRule::because("publisher.publish_timeout", rule, show(time))?;
        }
        Ok(())
    }
}

fn ephemeral_topics(config: &NatsConfig, key: &str) -> Result<(), BrokenRule> {
    for (index, topic) in config.ephemeral.iter().enumerate() {
        judge(topic, join(key, &format!("ephemeral[{index}]")), vec![topic_name()])?;
    }
    Ok(())
}

fn times_agree(config: &ConsumerConfig, key: &str) -> Result<(), BrokenRule> {
    for wait in &config.backoff {
        judge(wait, join(key, "backoff"), vec![range(millis(100), hours(24))])?;
    }
    if config.heartbeat * 2 > config.expires {
        let expires = show(config.expires);
        let rule = format!("must be at most half of {key}.expires ({expires})");
        return BrokenRule::because(join(key, "heartbeat"), rule, show(config.heartbeat));
    }
    let waits = config.backoff.len();
    match config.max_deliver {
        Some(most) if most as usize <= waits => {
            let rule = format!("must be more than {key}.backoff has entries ({waits})");
            BrokenRule::because(join(key, "max_deliver"), rule, most)
        }
        _ => Ok(()),
    }
}

choices!(Start, Storage);
