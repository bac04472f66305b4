//! Logs beside the partitions of a topic: the subjects of another topic's stream, which are written
//! by number and read without a durable consumer.

use crate::{link::Link, names, topics::Topics, wire};
use async_nats::jetstream::{
    consumer::{DeliverPolicy, pull},
    publish::PublishAck,
    response::Response,
};
use buslane_core::{
    BoxFuture, BrokerError, Message, PublishError, Record, Source, Topic,
    broker::{LogReader, PartitionLog},
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::{future::ready, sync::Arc};

/// The log of one partition.
pub(crate) struct NatsLog {
    link: Arc<Link>,
    topics: Arc<Topics>,
    topic: Topic,
    stream: Arc<str>,
    partition: u32,
}

impl NatsLog {
    pub(crate) fn new(
        link: &Arc<Link>,
        topics: &Arc<Topics>,
        topic: &Topic,
        stream: Arc<str>,
        partition: u32,
    ) -> Self {
        let (link, topics) = (Arc::clone(link), Arc::clone(topics));
        Self { link, topics, topic: topic.clone(), stream, partition }
    }

    fn subject(&self) -> String {
        names::subject(&self.topic, Some(self.partition))
    }

    async fn store(&self, record: Record) -> Result<u64, PublishError> {
        let mut headers = wire::to_nats(&record, &self.topic).unwrap_or_default();
        let client = self.link.client();
        // An entry is stored each time that it is sent: one of an earlier owner does not count.
        headers.insert(wire::MESSAGE_ID, client.new_inbox());
        let subject = self.subject();
        let answer = client.request_with_headers(subject.clone(), headers, record.payload).await;
        let answer = answer.map_err(|error| PublishError::Unreachable {
            reason: self.link.explain(&subject, &error),
        })?;
        let unavailable = |reason| PublishError::Unavailable { topic: self.topic.clone(), reason };
        match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
            Ok(Response::Ok(stored)) => Ok(stored.sequence),
            Ok(Response::Err { error }) => Err(unavailable(error.to_string())),
            Err(error) => Err(unavailable(format!("the answer cannot be read: {error}"))),
        }
    }
}

impl PartitionLog for NatsLog {
    fn append(&self, record: Record) -> BoxFuture<'_, Result<u64, PublishError>> {
        Box::pin(self.store(record))
    }

    fn read(&self, from: u64) -> Box<dyn LogReader> {
        Box::new(NatsLogReader {
            link: Arc::clone(&self.link),
            source: Arc::new(Source::new(self.topic.clone(), self.partition)),
            stream: Arc::clone(&self.stream),
            subject: self.subject(),
            next: from,
            messages: None,
        })
    }

    fn forget(&self, below: u64) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.topics.purge(&self.topic, &self.stream, self.subject(), below))
    }
}

/// Reads one subject with a consumer that the server forgets.
struct NatsLogReader {
    link: Arc<Link>,
    source: Arc<Source>,
    stream: Arc<str>,
    subject: String,
    next: u64,
    messages: Option<pull::Ordered>,
}

impl NatsLogReader {
    async fn messages(&mut self) -> Result<&mut pull::Ordered, BrokerError> {
        let unreachable = |reason| BrokerError::Unreachable { reason };
        if self.messages.is_none() {
            let context = self.link.jetstream();
            let stream = context.get_stream_no_info(&*self.stream).await;
            let stream = stream.map_err(|error| unreachable(error.to_string()))?;
            let deliver_policy = match self.next {
                0 => DeliverPolicy::All,
                start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
            };
            let config = pull::OrderedConfig {
                filter_subject: self.subject.clone(),
                deliver_policy,
                ..pull::OrderedConfig::default()
            };
            let consumer = stream.create_consumer(config).await;
            let consumer = consumer.map_err(|error| unreachable(error.to_string()))?;
            let messages = consumer.messages().await;
            self.messages = Some(messages.map_err(|error| unreachable(error.to_string()))?);
        }
        self.messages.as_mut().ok_or(BrokerError::Closed)
    }
}

impl LogReader for NatsLogReader {
    fn next<'a>(
        &'a mut self,
        max: usize,
        out: &'a mut Vec<Message>,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            let source = Arc::clone(&self.source);
            let mut next = self.next;
            let messages = self.messages().await?;
            let mut failure = None;
            for count in 0..max {
                let received = if count == 0 {
                    messages.next().await
                } else {
                    tokio::select! {
                        biased;
                        received = messages.next() => received,
                        () = ready(()) => break,
                    }
                };
                match received {
                    Some(Ok(stored)) => {
                        if let Some(message) = message(&stored, &source) {
                            next = message.offset + 1;
                            out.push(message);
                        }
                    }
                    Some(Err(error)) => failure = Some(error.to_string()),
                    None => failure = Some("the consumer has ended".to_owned()),
                }
                if failure.is_some() {
                    break;
                }
            }
            let is_any = next > self.next;
            self.next = next;
            if failure.is_some() {
                self.messages = None;
            }
            match failure {
                Some(reason) if !is_any => Err(BrokerError::Unreachable { reason }),
                _ => Ok(()),
            }
        })
    }
}

fn message(stored: &async_nats::jetstream::Message, source: &Arc<Source>) -> Option<Message> {
    let info = stored.info().ok()?;
    let (key, headers) = wire::from_nats(stored.headers.as_ref());
    let payload = Bytes::copy_from_slice(&stored.payload);
    let mut record = Record::new(payload).with_headers(headers);
    record.key = key;
    let nanos = info.published.unix_timestamp_nanos();
    let timestamp_ms = i64::try_from(nanos / 1_000_000).unwrap_or(0);
    Some(record.into_message(Arc::clone(source), info.stream_sequence, timestamp_ms))
}
