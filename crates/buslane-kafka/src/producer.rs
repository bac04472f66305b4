//! The producer of a bus: idempotent, acknowledged by all in-sync replicas, one for all topics.

mod acked;
mod batch;

pub(crate) use acked::Acked;

use crate::{KafkaConfigError, config::KafkaConfig, reasons::Reasons};
use batch::Batch;
use buslane_core::{Answer, PublishError, Receipt, Record, Topic};
use rdkafka::{
    client::{Client, ClientContext},
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
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
    client: ThreadedProducer<Deliveries>,
    publish_timeout: Duration,
    closed: AtomicBool,
}

/// Hears what became of each record, on the producer's own thread.
pub(crate) struct Deliveries {
    reasons: Arc<Reasons>,
    /// Told when records leave the queue.
    room: Notify,
    waiting: AtomicBool,
}

/// One record on its way.
pub(crate) struct Ticket {
    batch: Arc<Batch>,
    at: usize,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reasons.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reasons.error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        use rdkafka::Message;
        let Ticket { batch, at } = *ticket;
        let answer = match result {
            Ok(message) => receipt(&batch, message.partition(), message.offset()),
            Err((error, _)) => Err(self.failure(batch.topic(), error, batch.waited())),
        };
        batch.answer(at, answer);
        if self.waiting.load(Ordering::SeqCst) {
            self.room.notify_waiters();
        }
    }
}

/// The broker took a record, at `offset`; a negative one means that it called the record a repetition.
fn receipt(batch: &Batch, partition: i32, offset: i64) -> Result<Receipt, PublishError> {
    let partition = u32::try_from(partition).unwrap_or(0);
    let topic = batch.topic().clone();
    match u64::try_from(offset) {
        Ok(offset) => {
            batch.acked().mark(partition);
            Ok(Receipt { topic, partition, offset, duplicate: false })
        }
        Err(_) if batch.acked().has(partition) => Ok(Receipt { topic, partition, offset: 0, duplicate: true }),
        Err(_) => {
            let reason = format!(
                "partition {partition} calls the first record that it was sent a repetition, so it may not be stored"
            );
            Err(PublishError::Refused { topic, reason })
        }
    }
}

impl Deliveries {
    fn failure(&self, topic: &Topic, error: &KafkaError, waited: Duration) -> PublishError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::QueueFull) => {
                PublishError::Timeout { topic: topic.clone(), waited, detail: self.reasons.explain(error) }
            }
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Authentication,
            ) => PublishError::Unreachable { reason: self.reasons.explain(error) },
            Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => PublishError::Closed,
            _ => PublishError::Refused { topic: topic.clone(), reason: error.to_string() },
        }
    }
}

impl Producer {
    pub(crate) fn start(config: &KafkaConfig) -> Result<Self, KafkaConfigError> {
        let context = Deliveries { reasons: Arc::default(), room: Notify::new(), waiting: AtomicBool::new(false) };
        let client = config.producer().create_with_context(context)?;
        Ok(Self { client, publish_timeout: config.producer.publish_timeout, closed: AtomicBool::new(false) })
    }

    /// The client below, for questions about topics.
    pub(crate) fn client(&self) -> &Client<Deliveries> {
        self.client.client()
    }

    /// The error of a call, with the client's last trouble behind it.
    pub(crate) fn explain(&self, error: &impl ToString) -> String {
        self.client.context().reasons.explain(error)
    }

    pub(crate) fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        acked: Arc<Acked>,
        records: Vec<Record>,
    ) -> Answer<'a, Vec<Result<Receipt, PublishError>>> {
        if self.closed.load(Ordering::Acquire) {
            return Answer::Now(vec![Err(PublishError::Closed); records.len()]);
        }
        let (batch, answers) = Batch::new(topic.clone(), acked, records.len());
        let sent = self.send(&batch, &records, 0);
        Answer::Later(Box::pin(async move {
            if sent < records.len() {
                self.send_the_rest(&batch, &records, sent).await;
            }
            drop(batch);
            answers.await.unwrap_or_else(|_| vec![Err(PublishError::Closed); records.len()])
        }))
    }

    /// Hands records to the client until its queue is full; returns how many it has taken or refused for good.
    fn send(&self, batch: &Arc<Batch>, records: &[Record], from: usize) -> usize {
        for (at, record) in records.iter().enumerate().skip(from) {
            let ticket = Box::new(Ticket { batch: Arc::clone(batch), at });
            let mut message = BaseRecord::with_opaque_to(batch.topic(), ticket).payload(&record.payload[..]);
            if let Some(key) = &record.key {
                message = message.key(&key[..]);
            }
            if !record.headers.is_empty() {
                let mut headers = OwnedHeaders::new();
                for (key, value) in record.headers.iter() {
                    headers = headers.insert(Header { key, value: Some(value) });
                }
                message = message.headers(headers);
            }
            match self.client.send(message) {
                Ok(()) => {}
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => return at,
                Err((error, _)) => {
                    batch.answer(at, Err(self.client.context().failure(batch.topic(), &error, batch.waited())));
                }
            }
        }
        records.len()
    }

    /// Waits for room, up to the publish timeout.
    async fn send_the_rest(&self, batch: &Arc<Batch>, records: &[Record], mut sent: usize) {
        let deadline = Instant::now() + self.publish_timeout;
        let context = self.client.context();
        context.waiting.store(true, Ordering::SeqCst);
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
                let error =
                    PublishError::Timeout { topic: batch.topic().clone(), waited: self.publish_timeout, detail };
                for at in sent..records.len() {
                    batch.answer(at, Err(error.clone()));
                }
                return;
            }
        }
    }

    /// Takes nothing more, and waits for what is on its way. Blocks.
    pub(crate) fn close(&self, patience: Duration) {
        self.closed.store(true, Ordering::Release);
        if let Err(error) = self.client.flush(patience) {
            tracing::warn!(%error, records = self.client.in_flight_count(), "records are not acknowledged at the close");
        }
    }
}
