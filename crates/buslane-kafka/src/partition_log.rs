//! Logs beside the partitions of a topic: the partitions of another topic, which are written by
//! number and read without a group.

use crate::{
    config::KafkaConfig,
    drop_on_thread::drop_on_thread,
    error_log::ErrorLog,
    producer::{Producer, Target},
    token_refresher::CurrentToken,
    topics::Topics,
};
use buslane_core::{
    BoxFuture, BrokerError, Headers, Message, PublishError, Record, Source,
    broker::{LogReader, PartitionLog},
};
use bytes::Bytes;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::{Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, Message as _},
};
use std::{
    future::ready,
    sync::{Arc, Weak},
};
use tokio::task::spawn_blocking;

/// KiB that a reader fetches ahead: a log is short, or read once.
const PREFETCH_KIB: &str = "1024";

/// The log of one partition. Does not keep the broker's clients alive.
pub(crate) struct KafkaLog {
    producer: Weak<Producer>,
    topics: Weak<Topics>,
    target: Arc<Target>,
    partition: u32,
    readers: Arc<Readers>,
}

/// What readers need to connect.
pub(crate) struct Readers {
    config: ClientConfig,
    token: Option<CurrentToken>,
}

impl Readers {
    pub(crate) fn new(config: &KafkaConfig, token: Option<CurrentToken>) -> Arc<Self> {
        let largest = config.producer.max_message_bytes;
        let mut client = config.client();
        client
            // It joins no group: librdkafka assigns partitions only to a client that names one.
            .set("group.id", &config.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where the log begins, if it was forgotten up to there meanwhile.
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", PREFETCH_KIB)
            .set("message.max.bytes", largest.to_string())
            .set("fetch.max.bytes", config.consumer.fetch_max_bytes.max(largest).to_string());
        Arc::new(Self { config: client, token })
    }
}

impl KafkaLog {
    pub(crate) fn new(
        producer: &Arc<Producer>,
        topics: &Arc<Topics>,
        target: Arc<Target>,
        partition: u32,
        readers: &Arc<Readers>,
    ) -> Self {
        Self {
            producer: Arc::downgrade(producer),
            topics: Arc::downgrade(topics),
            target,
            partition,
            readers: Arc::clone(readers),
        }
    }
}

impl PartitionLog for KafkaLog {
    fn append(&self, record: Record) -> BoxFuture<'_, Result<u64, PublishError>> {
        Box::pin(async move {
            let producer = self.producer.upgrade().ok_or(PublishError::Closed)?;
            let answers =
                producer.append(Arc::clone(&self.target), self.partition, vec![record]).get().await;
            let receipt = answers.into_iter().next().unwrap_or(Err(PublishError::Closed))?;
            if receipt.duplicate {
                // Its position is not known.
                let reason = "the answer to the record was lost".to_owned();
                return Err(PublishError::Unavailable { topic: receipt.topic, reason });
            }
            Ok(receipt.offset)
        })
    }

    fn read(&self, from: u64) -> Box<dyn LogReader> {
        Box::new(KafkaLogReader {
            readers: Arc::clone(&self.readers),
            source: Arc::new(Source::new(self.target.topic().clone(), self.partition)),
            next: from,
            client: None,
        })
    }

    fn forget(&self, below: u64) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let topics = self.topics.upgrade().ok_or(BrokerError::Closed)?;
            topics.forget(self.target.topic(), self.partition, below).await
        })
    }
}

/// Reads one partition with a client of its own.
struct KafkaLogReader {
    readers: Arc<Readers>,
    source: Arc<Source>,
    next: u64,
    client: Option<Client>,
}

/// # Drop behaviour
/// Ends the client on a separate thread, because the client waits for its threads.
struct Client(Option<StreamConsumer<Context>>);

impl Drop for Client {
    fn drop(&mut self) {
        drop_on_thread("buslane-kafka-log-end", self.0.take());
    }
}

#[derive(Default)]
struct Context {
    errors: ErrorLog,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.errors.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.error(&error, reason);
    }
}

impl ConsumerContext for Context {}

impl KafkaLogReader {
    /// The client, connected to the partition at the next position.
    async fn client(&mut self) -> Result<&StreamConsumer<Context>, BrokerError> {
        if self.client.is_none() {
            let unreachable = |reason| BrokerError::Unreachable { reason };
            let readers = Arc::clone(&self.readers);
            let made = spawn_blocking(move || {
                readers.config.create_with_context::<_, StreamConsumer<Context>>(Context::default())
            });
            let client = made
                .await
                .map_err(|error| unreachable(error.to_string()))?
                .map_err(|error| unreachable(error.to_string()))?;
            if let Some(token) = &self.readers.token {
                token.get().give_to(client.client()).map_err(unreachable)?;
            }
            let mut place = TopicPartitionList::with_capacity(1);
            let offset = Offset::Offset(i64::try_from(self.next).unwrap_or(i64::MAX));
            let partition = i32::try_from(self.source.partition).unwrap_or(i32::MAX);
            place
                .add_partition_offset(&self.source.topic, partition, offset)
                .and_then(|()| client.assign(&place))
                .map_err(|error| unreachable(error.to_string()))?;
            self.client = Some(Client(Some(client)));
        }
        let client = self.client.as_ref().and_then(|client| client.0.as_ref());
        client.ok_or(BrokerError::Closed)
    }
}

impl LogReader for KafkaLogReader {
    fn next<'a>(
        &'a mut self,
        max: usize,
        out: &'a mut Vec<Message>,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            let source = Arc::clone(&self.source);
            let mut next = self.next;
            let client = self.client().await?;
            let mut read = Ok(());
            for count in 0..max {
                let received = if count == 0 {
                    Some(client.recv().await)
                } else {
                    tokio::select! {
                        biased;
                        received = client.recv() => Some(received),
                        () = ready(()) => None,
                    }
                };
                match received {
                    None => break,
                    Some(Ok(stored)) => {
                        let message = message(&stored, &source);
                        next = message.offset + 1;
                        out.push(message);
                    }
                    Some(Err(error)) => {
                        if count == 0 {
                            let reason = client.context().errors.explain(&error);
                            read = Err(BrokerError::Unreachable { reason });
                        }
                        break;
                    }
                }
            }
            self.next = next;
            if read.is_err() && self.readers.token.is_some() {
                // The next one logs in with the present token.
                self.client = None;
            }
            read
        })
    }
}

fn message(stored: &BorrowedMessage<'_>, source: &Arc<Source>) -> Message {
    let mut headers = Headers::builder();
    for header in stored.headers().into_iter().flat_map(|headers| headers.iter()) {
        if header.key.len() <= usize::from(u16::MAX) {
            headers.push(header.key, header.value.unwrap_or_default());
        }
    }
    let payload = stored.payload().map(Bytes::copy_from_slice);
    let mut record = Record::new(payload.clone().unwrap_or_default()).with_headers(headers.build());
    record.is_null = payload.is_none();
    record.key = stored.key().map(Bytes::copy_from_slice);
    let offset = u64::try_from(stored.offset()).unwrap_or(0);
    let timestamp_ms = stored.timestamp().to_millis().unwrap_or(0);
    record.into_message(Arc::clone(source), offset, timestamp_ms)
}
