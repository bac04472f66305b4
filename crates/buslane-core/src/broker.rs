//! The contract of a broker: it hands out deliveries, takes settlements and publishes records.
//!
//! A broker knows no pool and no handler. "Commit" and "acknowledge" are words of the
//! implementations.

mod error;
mod events;
mod progress;
mod record;
mod symptoms;

pub use error::{BrokerError, PublishError};
pub use events::EventQueue;
pub use progress::Progress;
pub use record::{Receipt, Record, header};
pub use symptoms::{Symptom, SymptomKind, Symptoms};

use crate::{BoxFuture, Message, Settlement, Source, Topic, TopicSettings, TopicStrategy};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// The backends that buslane speaks to.
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
/// Who holds it reads when there is room, and not reading is the back-pressure: an intake holds a
/// bounded number of messages and then stops reading its source, without disturbing other sources
/// or a group membership.
///
/// Each assignment has its own [`Source`] value, also when a partition comes back to the same
/// member.
pub trait Intake: Send {
    /// Where the messages come from.
    fn source(&self) -> &Arc<Source>;

    /// Appends up to `max` deliveries to `out` and returns how many, at least one; `None` when the
    /// source is over: revoked, unsubscribed or closed. Deliveries handed out before stay valid to
    /// settle. Wakes the task that polled last, by this method or by [`Intake::poll_end`].
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>>;

    /// Ready when the source is over, without reading from it: for a reader that waits for room.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// What a broker tells of itself.
#[non_exhaustive]
pub enum BrokerEvent {
    /// A source was assigned. Its messages may be read at once.
    Assigned(Box<dyn Intake>),
    /// The connection is lost; publishing and reading resume by themselves.
    Disconnected {
        /// Why, as the client library says it.
        reason: String,
    },
    /// The connection is back.
    Reconnected,
    /// Reading has ended for good: a fenced member, a refused authorisation, a client that cannot
    /// go on.
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

/// An answer that is often there at once; waiting for it costs a box only when it is not.
pub enum Answer<'a, T> {
    /// There already.
    Now(T),
    /// Still to come.
    Later(BoxFuture<'a, T>),
}

impl<T> Answer<'_, T> {
    /// Waits for it.
    pub async fn get(self) -> T {
        match self {
            Self::Now(value) => value,
            Self::Later(future) => future.await,
        }
    }
}

/// How a topic is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// Settle each message before its handler runs: strict at-most-once.
    pub settle_first: bool,
    /// Messages need not outlive the broker's processes: a stream that is created for them on NATS
    /// lives in memory.
    pub ephemeral: bool,
    /// A message without a key has the last token of its subject as key. NATS alone: elsewhere
    /// nothing has a subject.
    pub subject_key: bool,
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// Messages from the lowest one that is not settled to the end. Settled ones above it count
    /// too.
    pub messages: u64,
    /// Of these, messages that are not settled: what is still to be done.
    pub open: u64,
    /// Of these, messages that could be handed out and were not; `None` where the broker cannot
    /// tell.
    pub unread: Option<u64>,
    /// Time since that lowest one was published, where it is known: `None` when nothing is behind,
    /// or nothing of the partition was read yet.
    pub age: Option<Duration>,
}

/// A broker, as one member of one consumer group and one publisher.
pub trait Broker: Send + Sync + 'static {
    /// Which backend it is.
    fn backend(&self) -> Backend;

    /// Publishes records to a topic, in order per key. The answer has one entry a record, in their
    /// order, given after the broker's own acknowledgement. Two calls keep their order when the
    /// first was answered before the second.
    ///
    /// # Cancel safety
    /// Dropping a waiting answer leaves it open which of the records were published.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        records: Vec<Record>,
    ) -> Answer<'a, Vec<Result<Receipt, PublishError>>>;

    /// Makes sure that records for a topic would be stored: it exists, or is created where missing
    /// topics are; and, where the server tells it without a record, this client may write to it.
    /// The default asks nothing.
    ///
    /// # Cancel safety
    /// Cancelling leaves a topic that was created.
    fn ensure_topic<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        let _ = topic;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Adds topics to what this member reads, in one change of the group's membership. Topics that
    /// it reads already are left alone, but for [`SubscribeOptions::settle_first`] and
    /// [`SubscribeOptions::subject_key`], which may count from now on. Sources arrive as
    /// [`BrokerEvent::Assigned`].
    fn subscribe<'a>(
        &'a self,
        topics: &'a [(Topic, SubscribeOptions)],
    ) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Takes a topic out of what this member reads; its intakes end. Other topics are not
    /// disturbed.
    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// The next event, or `None` after [`Broker::close`]. One caller at a time.
    ///
    /// # Cancel safety
    /// Cancelling loses no event.
    fn next_event(&self) -> BoxFuture<'_, Option<BrokerEvent>>;

    /// Applies settings to a topic by the given strategy; returns what stands afterwards.
    fn configure_topic<'a>(
        &'a self,
        topic: &'a Topic,
        settings: &'a TopicSettings,
        strategy: TopicStrategy,
    ) -> BoxFuture<'a, Result<TopicSettings, BrokerError>>;

    /// The settings of a topic, or `None` when there is no such topic.
    fn topic_settings<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>>;

    /// What this member's sources hold that is not settled: an entry for each partition that is
    /// assigned to it, as soon as the broker knows.
    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>>;

    /// How far the group has come in each partition of `topics`, whichever member reads it: also in
    /// partitions that this member has not got, or not yet. The topics are ones that this member
    /// subscribes to; others are left out. Asks the server, so that `end` covers every record whose
    /// publish was answered before the call.
    ///
    /// # Cancel safety
    /// Cancelling changes nothing.
    fn progress<'a>(
        &'a self,
        topics: &'a [Topic],
    ) -> BoxFuture<'a, Result<Vec<Progress>, BrokerError>>;

    /// Asks the server whether it is there: a small question without effect. The default says that
    /// it is.
    ///
    /// # Cancel safety
    /// Cancelling changes nothing.
    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What is wrong, as far as it has noticed by itself. Asks nobody. The default is nothing.
    fn symptoms(&self) -> Vec<Symptom> {
        Vec::new()
    }

    /// Why the same partition of two of these topics may belong to two members of the group, and
    /// which setting keeps them together; `None` where it cannot happen, or is not known to. Asks
    /// nobody. The default is none.
    fn scatters(&self, topics: &[&Topic]) -> Option<String> {
        let _ = topics;
        None
    }

    /// How many messages it has handed on although their headers cannot be read. The default is
    /// none.
    fn unreadable(&self) -> u64 {
        0
    }

    /// Ends all intakes; nothing more is read. Settlements are still taken.
    fn stop_reading(&self) -> BoxFuture<'_, ()>;

    /// Sends settlements and records that are on their way, leaves the group and closes, within
    /// `deadline`. What was handed out and not settled is delivered again to whoever comes next.
    /// Idempotent.
    fn close(&self, deadline: Duration) -> BoxFuture<'_, Result<(), BrokerError>>;
}
