//! Durable consumers: made as configured, found again, and asked how they stand.

use crate::{
    config::{ConsumerConfig, Start},
    error::is_temporary,
    link::Link,
    names,
    topics::Topics,
    version,
};
use async_nats::jetstream::{
    ErrorCode,
    consumer::{AckPolicy, DeliverPolicy, Info, pull},
    response::Response,
    stream::ConsumerErrorKind,
};
use buslane_core::{BrokerError, Topic};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// The durable consumer of one topic, or of one partition of it.
#[derive(Clone)]
pub(crate) struct Consumer {
    pub(crate) topic: Topic,
    pub(crate) partition: Option<u32>,
    pub(crate) stream: String,
    pub(crate) durable: String,
    pub(crate) settings: Arc<ConsumerConfig>,
    topics: Arc<Topics>,
}

impl Consumer {
    /// Names the consumer of a group; nothing is asked of the server.
    ///
    /// # Errors
    /// A name that the server cannot hold.
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

    /// Where messages are asked for.
    pub(crate) fn next_subject(&self) -> String {
        format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.durable)
    }

    /// Creates it, or gives one that exists the configured settings; it keeps its place. One that
    /// is created again begins at `next`, unless that is 0.
    ///
    /// # Errors
    /// What the server refuses, and a consumer of that name which is none of ours.
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
        if filters.len() > 1 && link.version < version::PARTITIONS {
            return Err(self.refused(format!(
                "partitions need nats-server {} or later; this one is {}",
                version::PARTITIONS,
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

    /// What the server says of it; `None` when it does not exist.
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

    /// As the server has it; an error says that it is not there.
    ///
    /// # Errors
    /// No answer, or no such consumer.
    pub(crate) async fn info(&self, link: &Link) -> Result<Info, BrokerError> {
        self.find(link).await?.ok_or_else(|| {
            self.refused(format!("the durable consumer {} does not exist", self.durable))
        })
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn exists(&self, link: &Link) -> Result<bool, BrokerError> {
        Ok(self.find(link).await?.is_some())
    }

    /// Whether everything up to a sequence is settled. One that does not exist has settled nothing.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn has_settled(&self, link: &Link, last: u64) -> Result<bool, BrokerError> {
        let is_over = |info: Info| {
            let is_read = info.num_ack_pending == 0 && info.delivered.stream_sequence >= last;
            is_read || info.ack_floor.stream_sequence >= last
        };
        Ok(self.find(link).await?.is_some_and(is_over))
    }

    /// When the stream took the first message behind `floor` that the consumer reads, in
    /// milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// No answer.
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

    /// As [`Consumer::info`]; a stream or a consumer that is gone is created again, and begins at
    /// `next`. Whether that was so.
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
        // A stream that begins anew has nothing at the old place.
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
}
