//! The producer of a bus: idempotent, acknowledged by all in-sync replicas, one client for all
//! topics.

mod batch;

pub(crate) use batch::Target;

use crate::{
    bootstrap::Bootstrap, config::KafkaConfig, error::KafkaConfigError, error_log::ErrorLog,
    native::produce,
};
use batch::{Batch, BatchResults, Ticket};
use buslane_core::{Answer, PublishError, Receipt, Record};
use rdkafka::{
    client::{Client, ClientContext},
    config::RDKafkaLogLevel,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, DeliveryResult, Headers, Message},
    metadata::Metadata,
    producer::{Producer as _, ProducerContext, ThreadedProducer},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

pub(crate) struct Producer {
    client: ThreadedProducer<DeliveryContext>,
    bootstrap: Bootstrap,
    publish_timeout: Duration,
    max_message_bytes: u32,
    closed: AtomicBool,
}

/// Receives the outcome of each record, on the producer's own thread.
pub(crate) struct DeliveryContext {
    errors: ErrorLog,
    /// Notified when records leave the queue.
    room: Notify,
    /// Whether a publisher waits for capacity.
    is_awaited: AtomicBool,
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.errors.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.error(&error, reason);
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        ticket.answer(|batch| match result {
            Ok(message) => receipt(batch.target(), message.partition(), message.offset()),
            Err((error, message)) => Err(self.failure(batch, error, || size(message))),
        });
        if self.is_awaited.load(Ordering::SeqCst) {
            self.room.notify_waiters();
        }
    }
}

/// The receipt of an acknowledged record. A negative offset marks a duplicate, which counts as
/// stored only after an acknowledged record: see [`Target`].
fn receipt(target: &Target, partition: i32, offset: i64) -> Result<Receipt, PublishError> {
    let partition = u32::try_from(partition).unwrap_or(0);
    let topic = target.topic().clone();
    match u64::try_from(offset) {
        Ok(offset) => {
            target.mark_acked(partition);
            Ok(Receipt { topic, partition, offset, duplicate: false })
        }
        Err(_) if target.has_acked(partition) => {
            Ok(Receipt { topic, partition, offset: 0, duplicate: true })
        }
        Err(_) => {
            let reason = format!(
                "partition {partition} takes the first record for a duplicate: it may be lost"
            );
            Err(PublishError::Refused { topic, reason })
        }
    }
}

/// Names a broker's limit for a record, because the client does not know its value.
const TOPIC_LIMIT: &str = "the topic's max.message.bytes";

/// Bytes of key, headers and body, as [`Record::bytes`] counts them.
fn size(message: &BorrowedMessage<'_>) -> usize {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers: usize =
        headers.map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
    message.key_len() + headers + message.payload_len()
}

fn too_large(batch: &Batch, bytes: usize, limit: String) -> PublishError {
    PublishError::TooLarge { topic: batch.target().topic().clone(), bytes, limit }
}

impl DeliveryContext {
    fn failure(
        &self,
        batch: &Batch,
        error: &KafkaError,
        size: impl FnOnce() -> usize,
    ) -> PublishError {
        let topic = batch.target().topic();
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge,
            ) => too_large(batch, size(), TOPIC_LIMIT.to_owned()),
            Some(
                RDKafkaErrorCode::NotEnoughReplicas
                | RDKafkaErrorCode::NotEnoughReplicasAfterAppend
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::ReplicaNotAvailable
                | RDKafkaErrorCode::KafkaStorageError
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::ThrottlingQuotaExceeded,
            ) => PublishError::Unavailable {
                topic: topic.clone(),
                reason: self.errors.explain(error),
            },
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::QueueFull) => {
                PublishError::Timeout {
                    topic: topic.clone(),
                    waited: batch.waited(),
                    detail: self.errors.explain(error),
                }
            }
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Authentication,
            ) => PublishError::Unreachable { reason: self.errors.explain(error) },
            Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => {
                PublishError::Closed
            }
            _ => PublishError::Refused { topic: topic.clone(), reason: error.to_string() },
        }
    }
}

impl Producer {
    pub(crate) fn start(config: &KafkaConfig) -> Result<Self, KafkaConfigError> {
        let context = DeliveryContext {
            errors: ErrorLog::default(),
            room: Notify::new(),
            is_awaited: AtomicBool::new(false),
        };
        let client = config.producer().create_with_context(context)?;
        let bootstrap = Bootstrap::new(&config.brokers);
        let own = &config.producer;
        Ok(Self {
            client,
            bootstrap,
            publish_timeout: own.publish_timeout,
            max_message_bytes: own.max_message_bytes,
            closed: AtomicBool::new(false),
        })
    }

    /// Fetches the metadata of a topic from any broker. Blocks.
    pub(crate) fn fetch_metadata(&self, topic: &str, timeout: Duration) -> KafkaResult<Metadata> {
        self.bootstrap.fetch_metadata(self.client(), topic, timeout)
    }

    /// The underlying client, for requests about topics.
    pub(crate) fn client(&self) -> &Client<DeliveryContext> {
        self.client.client()
    }

    /// The error of a call, followed by the client's last failure.
    pub(crate) fn explain(&self, error: &impl ToString) -> String {
        self.client.context().errors.explain(error)
    }

    pub(crate) fn publish(
        &self,
        target: Arc<Target>,
        records: Vec<Record>,
    ) -> Answer<'_, Vec<Result<Receipt, PublishError>>> {
        self.publish_to(target, None, records)
    }

    /// As [`publish`](Self::publish), to one partition.
    pub(crate) fn append(
        &self,
        target: Arc<Target>,
        partition: u32,
        records: Vec<Record>,
    ) -> Answer<'_, Vec<Result<Receipt, PublishError>>> {
        self.publish_to(target, Some(partition), records)
    }

    fn publish_to(
        &self,
        target: Arc<Target>,
        partition: Option<u32>,
        records: Vec<Record>,
    ) -> Answer<'_, Vec<Result<Receipt, PublishError>>> {
        if self.closed.load(Ordering::Acquire) {
            return Answer::Now(vec![Err(PublishError::Closed); records.len()]);
        }
        let batch = Batch::new(target, partition, records.len());
        let sent = self.send(&batch, &records, 0);
        if sent == records.len() {
            return Answer::Later(Box::pin(BatchResults(batch)));
        }
        Answer::Later(Box::pin(async move {
            self.send_rest(&batch, &records, sent).await;
            BatchResults(batch).await
        }))
    }

    /// Passes records to the client until its queue is full. Returns the number of records that the
    /// client has accepted or refused for good.
    fn send(&self, batch: &Arc<Batch>, records: &[Record], from: usize) -> usize {
        let (client, name) = (self.client.client(), batch.target().name());
        for (at, record) in records.iter().enumerate().skip(from) {
            match produce(client, name, batch.partition(), record, batch.ticket(at)) {
                Ok(()) => {}
                Err((RDKafkaErrorCode::QueueFull, ticket)) => {
                    ticket.give_back();
                    return at;
                }
                Err((RDKafkaErrorCode::MessageSizeTooLarge, ticket)) => {
                    let limit = format!("producer.max_message_bytes, {}", self.max_message_bytes);
                    ticket.answer(|batch| Err(too_large(batch, record.bytes(), limit)));
                }
                Err((code, ticket)) => {
                    let error = KafkaError::MessageProduction(code);
                    ticket.answer(|batch| {
                        Err(self.client.context().failure(batch, &error, || record.bytes()))
                    });
                }
            }
        }
        records.len()
    }

    /// Sends the remaining records as capacity becomes free, up to the publish timeout.
    async fn send_rest(&self, batch: &Arc<Batch>, records: &[Record], mut sent: usize) {
        let deadline = Instant::now() + self.publish_timeout;
        let context = self.client.context();
        context.is_awaited.store(true, Ordering::SeqCst);
        loop {
            let room = context.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            sent = self.send(batch, records, sent);
            if sent == records.len() {
                return;
            }
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                let detail = "the producer's queue is full".to_owned();
                let topic = batch.target().topic().clone();
                let error = PublishError::Timeout { topic, waited: self.publish_timeout, detail };
                for at in sent..records.len() {
                    batch.ticket(at).answer(|_| Err(error.clone()));
                }
                return;
            }
        }
    }

    /// Refuses new records and waits for those in flight. Blocks.
    pub(crate) fn close(&self, timeout: Duration) {
        self.closed.store(true, Ordering::Release);
        if let Err(error) = self.client.flush(timeout) {
            let records = self.client.in_flight_count();
            tracing::warn!(%error, records, "records are not acknowledged at the close");
        }
    }
}
