//! Durable consumers: creation, look-up, progress, and the age of their messages.

use crate::{
    config::{ConsumerConfig, Start},
    error::is_temporary,
    link::{self, Link},
    names, stored,
    topics::Topics,
};
use async_nats::jetstream::{
    ErrorCode,
    consumer::{AckPolicy, DeliverPolicy, Info, pull},
    response::Response,
    stream::ConsumerErrorKind,
};
use buslane_core::{BrokerError, Progress, Topic};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The durable consumer of one topic, or of one partition of it.
#[derive(Clone)]
pub(crate) struct DurableConsumer {
    pub(crate) topic: Topic,
    pub(crate) partition: Option<u32>,
    pub(crate) stream: String,
    pub(crate) durable: String,
    pub(crate) settings: Arc<ConsumerConfig>,
    topics: Arc<Topics>,
}

/// The newest message of a subject. Its headers stay unparsed, because they may be unreadable.
#[derive(Deserialize)]
struct LastMessage {
    message: LastSequence,
}

#[derive(Deserialize)]
struct LastSequence {
    seq: u64,
}

impl DurableConsumer {
    /// Names the consumer of a group, without a request to the server.
    ///
    /// # Errors
    /// When the name is too long for the server.
    pub(crate) fn new(
        topics: &Arc<Topics>,
        settings: &Arc<ConsumerConfig>,
        group: &str,
        topic: &Topic,
        partition: Option<u32>,
        stream: &str,
    ) -> Result<Self, BrokerError> {
        Ok(Self {
            topic: topic.clone(),
            partition,
            stream: stream.to_owned(),
            durable: names::durable(group, topic, partition)?,
            settings: Arc::clone(settings),
            topics: Arc::clone(topics),
        })
    }

    /// The subject of pull requests.
    pub(crate) fn next_subject(&self) -> String {
        format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.durable)
    }

    /// Creates the consumer, or updates the settings of an existing one, which keeps its position.
    /// A consumer that is created again begins at `next`, unless `next` is 0.
    ///
    /// # Errors
    /// A refusal of the server, or a foreign consumer of that name.
    pub(crate) async fn ensure(&self, link: &Link, next: u64) -> Result<(), BrokerError> {
        let deliver_policy = match self.find(link).await? {
            Some(found) => {
                self.check_ours(&found)?;
                found.config.deliver_policy
            }
            None if next > 0 => DeliverPolicy::ByStartSequence { start_sequence: next },
            None => match self.settings.start {
                Start::Earliest => DeliverPolicy::All,
                Start::Latest => DeliverPolicy::New,
            },
        };
        let config = self.config(link, deliver_policy)?;
        let made = link.jetstream().create_consumer_on_stream(config, self.stream.as_str()).await;
        made.map(drop).map_err(|error| match error.kind() {
            ConsumerErrorKind::JetStream(reason) if !is_temporary(&reason) => {
                self.refused(reason.to_string())
            }
            ConsumerErrorKind::JetStream(_)
            | ConsumerErrorKind::TimedOut
            | ConsumerErrorKind::Request => BrokerError::Unreachable { reason: error.to_string() },
            _ => self.refused(error.to_string()),
        })
    }

    fn config(
        &self,
        link: &Link,
        deliver_policy: DeliverPolicy,
    ) -> Result<pull::Config, BrokerError> {
        let own = &self.settings;
        let mut filters = names::filters(&self.topic, self.partition);
        if filters.len() > 1 && link.version < link::NEEDED_FOR_PARTITIONS {
            return Err(self.refused(format!(
                "partitions need nats-server {} or later; this one is {}",
                link::NEEDED_FOR_PARTITIONS,
                link.version
            )));
        }
        let filter_subject = if filters.len() == 1 { filters.remove(0) } else { String::new() };
        Ok(pull::Config {
            durable_name: Some(self.durable.clone()),
            description: Some(format!("buslane: {}", self.topic)),
            deliver_policy,
            ack_policy: AckPolicy::Explicit,
            ack_wait: if own.backoff.is_empty() { own.ack_wait } else { Duration::ZERO },
            backoff: own.backoff.clone(),
            max_deliver: own.max_deliver.map_or(-1, i64::from),
            filter_subject,
            filter_subjects: filters,
            max_ack_pending: i64::from(own.max_ack_pending),
            num_replicas: own.replicas.map_or(0, usize::from),
            memory_storage: own.memory_storage,
            ..pull::Config::default()
        })
    }

    /// The server's information; `None` when the consumer does not exist.
    pub(crate) async fn find(&self, link: &Link) -> Result<Option<Info>, BrokerError> {
        let subject = format!("$JS.API.CONSUMER.INFO.{}.{}", self.stream, self.durable);
        let answer = link.client().request(subject.clone(), Bytes::new()).await;
        let answer = answer
            .map_err(|error| BrokerError::Unreachable { reason: link.explain(&subject, &error) })?;
        match serde_json::from_slice(&answer.payload) {
            Ok(Response::Ok(info)) => Ok(Some(info)),
            Ok(Response::Err { error })
                if [ErrorCode::CONSUMER_NOT_FOUND, ErrorCode::STREAM_NOT_FOUND]
                    .contains(&error.error_code()) =>
            {
                Ok(None)
            }
            Ok(Response::Err { error }) if is_temporary(&error) => {
                Err(BrokerError::Unreachable { reason: error.to_string() })
            }
            Ok(Response::Err { error }) => Err(self.refused(error.to_string())),
            Err(error) => Err(BrokerError::Unreachable {
                reason: format!("an answer cannot be read: {error}"),
            }),
        }
    }

    /// The server's information about a consumer that must exist.
    ///
    /// # Errors
    /// When the server does not answer, or the consumer does not exist.
    pub(crate) async fn info(&self, link: &Link) -> Result<Info, BrokerError> {
        self.find(link).await?.ok_or_else(|| {
            self.refused(format!("the durable consumer {} does not exist", self.durable))
        })
    }

    /// Whether the consumer exists.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn exists(&self, link: &Link) -> Result<bool, BrokerError> {
        Ok(self.find(link).await?.is_some())
    }

    /// Whether every message up to sequence `last` is settled; `false` when the consumer does not
    /// exist.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn has_settled(&self, link: &Link, last: u64) -> Result<bool, BrokerError> {
        let is_over = |info: Info| {
            let is_read = info.num_ack_pending == 0 && info.delivered.stream_sequence >= last;
            is_read || info.ack_floor.stream_sequence >= last
        };
        Ok(self.find(link).await?.is_some_and(is_over))
    }

    /// When the stream stored the consumer's first message after `floor`, in milliseconds since the
    /// Unix epoch.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn oldest_ms(
        &self,
        link: &Link,
        floor: u64,
    ) -> Result<Option<i64>, BrokerError> {
        let stream = link.jetstream().get_stream_no_info(&self.stream).await;
        let stream =
            stream.map_err(|error| BrokerError::Unreachable { reason: error.to_string() })?;
        let mut oldest: Option<i64> = None;
        for filter in names::filters(&self.topic, self.partition) {
            let found = stream
                .raw_message_builder()
                .sequence(floor + 1)
                .next_by_subject(filter)
                .send()
                .await;
            if let Ok(message) = found {
                let ms =
                    i64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
                oldest = Some(oldest.map_or(ms, |oldest| oldest.min(ms)));
            }
        }
        Ok(oldest)
    }

    /// As [`DurableConsumer::info`], but creates a missing stream or consumer again, to begin at
    /// `next`. Returns whether one was created.
    pub(crate) async fn info_or_create(
        &self,
        link: &Link,
        next: u64,
    ) -> Result<(Info, bool), String> {
        if let Some(info) = self.find(link).await.map_err(|error| error.to_string())? {
            return Ok((info, false));
        }
        let (topic, durable) = (self.topic.as_str(), self.durable.as_str());
        tracing::warn!(topic, durable, next, "the durable consumer is gone: creating it again");
        let end = self.topics.restore(&self.topic).await.map_err(|error| error.to_string())?;
        // A recreated stream counts from 1, so the old sequence may lie beyond its end.
        let next = if next <= end + 1 { next } else { 0 };
        self.ensure(link, next).await.map_err(|error| error.to_string())?;
        self.info(link).await.map(|info| (info, true)).map_err(|error| error.to_string())
    }

    fn check_ours(&self, found: &Info) -> Result<(), BrokerError> {
        let config = &found.config;
        let refuse = |what: &str| {
            Err(self.refused(format!(
                "the consumer {} of stream {} exists and {what}",
                self.durable, self.stream
            )))
        };
        if config.deliver_subject.is_some() {
            return refuse(
                "pushes its messages; a pull consumer is needed: delete it, or choose another group",
            );
        }
        if config.ack_policy != AckPolicy::Explicit {
            return refuse(
                "does not ask for explicit acknowledgements: delete it, or choose another group",
            );
        }
        Ok(())
    }

    fn refused(&self, rule: String) -> BrokerError {
        BrokerError::Setting { topic: self.topic.clone(), setting: "consumer", rule }
    }

    /// The progress of the group over all its members; `None` when the consumer does not exist.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn progress(&self, link: &Link) -> Result<Option<Progress>, BrokerError> {
        // The end is requested first, so that the consumer's answer includes the message at the
        // end.
        let end = self.newest(link).await?.map_or(0, |newest| newest + 1);
        let Some(info) = self.find(link).await? else { return Ok(None) };
        let open = info.num_pending + info.num_ack_pending as u64;
        let floor = info.ack_floor.stream_sequence;
        let settled = if open == 0 { floor.max(info.delivered.stream_sequence) } else { floor };
        let (topic, partition) = (self.topic.clone(), self.partition.unwrap_or(0));
        Ok(Some(Progress { topic, partition, end, settled: settled + 1, open }))
    }

    /// The sequence of the consumer's newest message.
    async fn newest(&self, link: &Link) -> Result<Option<u64>, BrokerError> {
        let subject = format!("STREAM.MSG.GET.{}", self.stream);
        let mut newest = None;
        for filter in names::filters(&self.topic, self.partition) {
            let question = json!({ "last_by_subj": filter });
            match link
                .jetstream()
                .request::<_, _, Response<LastMessage>>(subject.clone(), &question)
                .await
            {
                Ok(Response::Ok(found)) => newest = newest.max(Some(found.message.seq)),
                Ok(Response::Err { error })
                    if [ErrorCode::NO_MESSAGE_FOUND, ErrorCode::STREAM_NOT_FOUND]
                        .contains(&error.error_code()) => {}
                Ok(Response::Err { error }) => {
                    return Err(BrokerError::Unreachable { reason: error.to_string() });
                }
                Err(error) => {
                    let reason = link.explain(&stored::subject(&self.stream), &error);
                    return Err(BrokerError::Unreachable { reason });
                }
            }
        }
        Ok(newest)
    }
}
