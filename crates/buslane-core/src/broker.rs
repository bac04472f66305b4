//! The contract of a broker: it hands out deliveries, takes settlements and publishes records.
//!
//! A broker knows no pool and no handler. Whether a settlement becomes a commit or an
//! acknowledgement is up to the implementation.

mod counts;
mod events;
mod log;
mod record;
mod symptoms;

pub use counts::{BrokerCounts, Stragglers};
pub use events::EventQueue;
pub use log::{LogReader, PartitionLog};
pub use record::{Receipt, Record, header};
pub use symptoms::{Symptom, SymptomKind, Symptoms};

use crate::{BoxFuture, Message, Settlement, Source, Topic, TopicSettings, TopicStrategy};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use thiserror::Error;

/// The backends that buslane supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The embedded broker.
    Memory,
    /// Apache Kafka.
    Kafka,
    /// NATS with JetStream.
    Nats,
}

impl Backend {
    /// `memory`, `kafka` or `nats`: the URL scheme, and the first word of metric names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Kafka => "kafka",
            Self::Nats => "nats",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message together with the right to settle it.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Its settlement; dropping it means "not done".
    pub settlement: Settlement,
}

/// Messages of one source, in order: one partition while it is assigned, or one subscription.
///
/// Its owner reads while there is room. Not reading is the back-pressure: an intake buffers a
/// bounded number of messages and then stops reading its source, without disturbing other sources
/// or the group membership.
///
/// Each assignment has its own [`Source`] value, even when a partition returns to the same member.
pub trait Intake: Send {
    /// The source of the messages.
    fn source(&self) -> &Arc<Source>;

    /// Appends up to `max` deliveries to `out` and returns their number, at least one. Returns
    /// `None` when the source has ended: it was revoked, unsubscribed or closed. Deliveries handed
    /// out before can still be settled. Wakes the task that polled last, by this method or by
    /// [`Intake::poll_end`].
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>>;

    /// Completes when the source has ended. It reads nothing, so a reader can call it while it
    /// waits for room.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// An event of a broker.
#[non_exhaustive]
pub enum BrokerEvent {
    /// A source was assigned. It can be read at once.
    Assigned(Box<dyn Intake>),
    /// The connection was lost. Publishing and reading resume by themselves.
    Disconnected {
        /// The reason that the client library gives.
        reason: String,
    },
    /// The connection is back.
    Reconnected,
    /// Reading has ended for good, because the member was fenced, authorisation was refused, or the
    /// client cannot continue.
    Failed(BrokerError),
}

impl fmt::Debug for BrokerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assigned(intake) => f.debug_tuple("Assigned").field(intake.source()).finish(),
            Self::Disconnected { reason } => {
                f.debug_struct("Disconnected").field("reason", reason).finish()
            }
            Self::Reconnected => f.write_str("Reconnected"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

/// A result that is often available at once; only waiting for one costs a boxed future.
pub enum Answer<'a, T> {
    /// The result.
    Now(T),
    /// A future of the result.
    Later(BoxFuture<'a, T>),
}

impl<T> Answer<'_, T> {
    /// Waits for the result.
    pub async fn get(self) -> T {
        match self {
            Self::Now(value) => value,
            Self::Later(future) => future.await,
        }
    }
}

/// How a topic is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// Settles each message before its handler runs: strictly at most once.
    pub settle_first: bool,
    /// The messages need not outlive the broker's processes: NATS keeps a stream that is created
    /// for them in memory.
    pub ephemeral: bool,
    /// Falls back to the last token of the subject as the key of a message. Effective on NATS only,
    /// because other backends have no subjects.
    pub subject_key: bool,
}

/// The backlog of a group in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// Messages from the lowest unsettled one to the end, settled ones above it included.
    pub messages: u64,
    /// Of these, messages that are not settled.
    pub open: u64,
    /// Of these, messages that the broker has not handed out; `None` if it cannot tell.
    pub unread: Option<u64>,
    /// Time since the lowest unsettled message was published. `None` when there is no such message,
    /// or before the first read of the partition.
    pub age: Option<Duration>,
}

/// A connection to a broker: one member of a consumer group, and a publisher.
pub trait Broker: Send + Sync + 'static {
    /// The backend.
    fn backend(&self) -> Backend;

    /// Publishes records to a topic, in order per key. The answer has one entry for each record, in
    /// the order of the records, and comes after the broker's acknowledgement. Two calls keep their
    /// order if the first was answered before the second was made.
    ///
    /// # Cancel safety
    /// Dropping a waiting answer leaves it unknown which of the records were published.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        records: Vec<Record>,
    ) -> Answer<'a, Vec<Result<Receipt, PublishError>>>;

    /// Checks that the broker would store records of a topic. A missing topic is created where the
    /// configuration allows it. The right to write is checked where the server reports it without a
    /// record. The default implementation checks nothing.
    ///
    /// # Errors
    /// The topic does not exist and is not created, or this client may not write to it.
    ///
    /// # Cancel safety
    /// A topic that was created stays.
    fn ensure_topic<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        let _ = topic;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Adds topics to the subscription of this member, in one change of the group's membership.
    /// Topics that it already reads are left alone, except that [`SubscribeOptions::settle_first`]
    /// and [`SubscribeOptions::subject_key`] may take effect from now on. Sources arrive as
    /// [`BrokerEvent::Assigned`].
    ///
    /// # Errors
    /// A topic does not exist or cannot be read, or the broker is closed or out of reach.
    ///
    /// # Cancel safety
    /// The topics may be added although the call was cancelled.
    fn subscribe<'a>(
        &'a self,
        topics: &'a [(Topic, SubscribeOptions)],
    ) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Removes a topic from the subscription of this member; its intakes end. Other topics are not
    /// disturbed.
    ///
    /// # Errors
    /// The broker is closed or out of reach.
    ///
    /// # Cancel safety
    /// The topic may be removed although the call was cancelled.
    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Waits for the next event; `None` after [`Broker::close`]. At most one caller may wait.
    ///
    /// # Cancel safety
    /// Cancelling loses no event.
    fn next_event(&self) -> BoxFuture<'_, Option<BrokerEvent>>;

    /// Applies settings to a topic as the strategy says, and returns the resulting settings.
    ///
    /// # Errors
    /// A setting is impossible on this backend, the topic differs or is missing where the strategy
    /// only validates, or the broker is closed or out of reach.
    ///
    /// # Cancel safety
    /// Settings may be applied although the call was cancelled.
    fn configure_topic<'a>(
        &'a self,
        topic: &'a Topic,
        settings: &'a TopicSettings,
        strategy: TopicStrategy,
    ) -> BoxFuture<'a, Result<TopicSettings, BrokerError>>;

    /// The settings of a topic; `None` when the topic does not exist.
    ///
    /// # Errors
    /// The broker is closed or out of reach.
    ///
    /// # Cancel safety
    /// Cancelling changes nothing.
    fn topic_settings<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>>;

    /// The backlog of each partition that is assigned to this member, as far as the broker knows
    /// it.
    ///
    /// # Errors
    /// The broker is closed or out of reach.
    ///
    /// # Cancel safety
    /// Cancelling changes nothing.
    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>>;

    /// The group's progress in each partition of `topics`, including partitions that other members
    /// read. Topics to which this member does not subscribe are left out. Asks the server, so that
    /// `end` covers every record whose publish was answered before the call.
    ///
    /// # Errors
    /// The broker is closed or out of reach.
    ///
    /// # Cancel safety
    /// Cancelling changes nothing.
    fn progress<'a>(
        &'a self,
        topics: &'a [Topic],
    ) -> BoxFuture<'a, Result<Vec<Progress>, BrokerError>>;

    /// Asks the server for a sign of life, without any other effect. The default implementation
    /// succeeds.
    ///
    /// # Errors
    /// The server does not answer.
    ///
    /// # Cancel safety
    /// Cancelling changes nothing.
    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The faults that the broker has noticed by itself. Sends no request. The default is none.
    fn symptoms(&self) -> Vec<Symptom> {
        Vec::new()
    }

    /// Explains why the same partition number of two of these topics may belong to two members, and
    /// names the setting that prevents it. `None` where that cannot happen, or is unknown. Sends no
    /// request. The default is `None`.
    fn scatters(&self, topics: &[&Topic]) -> Option<String> {
        let _ = topics;
        None
    }

    /// What the broker has counted by itself. Sends no request. The default is nothing.
    fn counts(&self) -> BrokerCounts {
        BrokerCounts::default()
    }

    /// Checks that each partition of a topic can have a log in the topic `log`. A missing `log` is
    /// created with as many partitions, and without a limit of age or size. The default
    /// implementation refuses.
    ///
    /// # Errors
    /// The broker keeps no logs, an existing `log` has other partitions or forgets records by
    /// itself, or the broker is closed or out of reach.
    ///
    /// # Cancel safety
    /// A topic that was created stays.
    fn ensure_log<'a>(
        &'a self,
        topic: &'a Topic,
        log: &'a Topic,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        let _ = topic;
        Box::pin(std::future::ready(Err(BrokerError::Setting {
            topic: log.clone(),
            setting: "terminal",
            rule: format!(
                "park needs a log beside each partition, which {} has not",
                self.backend()
            ),
        })))
    }

    /// The log of one partition, in a topic that [`ensure_log`](Self::ensure_log) has accepted.
    /// `None` where the broker keeps no logs, which is the default.
    fn log(&self, log: &Topic, partition: u32) -> Option<Arc<dyn PartitionLog>> {
        let _ = (log, partition);
        None
    }

    /// Ends all intakes, so that nothing more is read. Settlements still count.
    ///
    /// # Cancel safety
    /// The intakes may end although the call was cancelled.
    fn stop_reading(&self) -> BoxFuture<'_, ()>;

    /// Sends the pending settlements and records, leaves the group and closes, within `deadline`.
    /// Deliveries that were not settled go to the next owner of their partition. Idempotent.
    ///
    /// # Errors
    /// Something was still pending at the deadline.
    ///
    /// # Cancel safety
    /// The broker may be closing although the call was cancelled. Call it again to wait for the
    /// end.
    fn close(&self, deadline: Duration) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// Why a record was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker, or a queue in front of it, was full for the whole publish timeout.
    #[error("publish to {topic} timed out after {waited:?}: {detail}")]
    Timeout {
        /// The topic.
        topic: Topic,
        /// The time that the publisher waited.
        waited: Duration,
        /// The resource that the publisher waited for.
        detail: String,
    },
    /// The record exceeds a size limit.
    #[error("{topic} refused the record: its size of {bytes} bytes exceeds {limit}")]
    TooLarge {
        /// The topic.
        topic: Topic,
        /// Size of the record: key, headers and body.
        bytes: usize,
        /// The limit, with its value where the broker reports it.
        limit: String,
    },
    /// The broker cannot store records of this topic now: it has no room, no leader or too few
    /// replicas.
    #[error("{topic} cannot store the record now: {reason}")]
    Unavailable {
        /// The topic.
        topic: Topic,
        /// The broker's reason.
        reason: String,
    },
    /// The broker refused the record for a reason other than its size: the topic does not exist,
    /// this client has no permission, or the record breaks a rule of the topic.
    #[error("{topic} refused the record: {reason}")]
    Refused {
        /// The topic.
        topic: Topic,
        /// The broker's reason.
        reason: String,
    },
    /// The broker cannot be reached.
    #[error("broker is not reachable: {reason}")]
    Unreachable {
        /// The reason that the client library gives.
        reason: String,
    },
    /// The bus or the broker is closed.
    #[error("eventbus is closed")]
    Closed,
}

impl PublishError {
    /// Whether the broker refuses the same record until the record, the topic or the client's
    /// rights change. Other errors are outages, which end by themselves.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Refused { .. })
    }
}

/// Why a broker could not carry out a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker is closed.
    #[error("eventbus is closed")]
    Closed,
    /// The broker cannot be reached.
    #[error("broker is not reachable: {reason}")]
    Unreachable {
        /// The reason that the client library gives.
        reason: String,
    },
    /// A setting is impossible.
    #[error("topic {topic}: {setting}: {rule}")]
    Setting {
        /// The topic.
        topic: Topic,
        /// Name of the setting.
        setting: &'static str,
        /// The rule that the value breaks.
        rule: String,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist")]
    UnknownTopic {
        /// The missing topic.
        topic: Topic,
    },
    /// An operation took longer than its deadline.
    #[error("{what} did not end within {deadline:?}")]
    Timeout {
        /// The operation.
        what: String,
        /// The deadline.
        deadline: Duration,
    },
}

/// The progress of a group in one partition, whichever member reads it. Positions are offsets, or
/// sequence numbers of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// One past the position of the newest record.
    pub end: u64,
    /// Every record below this position is settled.
    pub settled: u64,
    /// The number of unsettled records in the partition. An estimate of the broker, and never too
    /// low.
    pub open: u64,
}
