//! A producer of librdkafka: keys, header values and bodies are any bytes.

use crate::{
    audit::{Books, Sent},
    input::{Headers, Input},
};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use std::{sync::Arc, time::Duration};

/// What the last records are given.
const LAST: Duration = Duration::from_secs(60);

pub(crate) struct Kafka(ThreadedProducer<Answers>);

/// Hears what became of each record.
struct Answers(Arc<Books>);

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, answer: &DeliveryResult<'_>, sent: Box<Sent>) {
        match answer {
            Ok(record) => {
                let partition = u32::try_from(record.partition()).unwrap_or(u32::MAX);
                self.0.stored(*sent, partition, u64::try_from(record.offset()).unwrap_or(u64::MAX));
            }
            Err((error, _)) => self.0.refused(&sent, &error.to_string()),
        }
    }
}

impl Kafka {
    pub(crate) fn connect(url: &str, books: Arc<Books>) -> Result<Self, String> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", url.trim_start_matches("kafka://"))
            // Records of a key keep their order when one is sent again.
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create_with_context(Answers(books));
        producer.map(Self).map_err(|error| error.to_string())
    }

    pub(crate) fn send(&self, topic: &str, input: Input) -> Result<(), String> {
        let Input { topic: place, partition, key, headers, body, aggregate, kind } = input;
        let sent = Sent::new(place, kind, aggregate, body.as_deref().unwrap_or_default());
        let partition = i32::try_from(partition).unwrap_or(0);
        let mut record = BaseRecord::<[u8], [u8], Box<Sent>>::with_opaque_to(topic, Box::new(sent))
            .partition(partition);
        if let Some(key) = &key {
            record = record.key(key.as_slice());
        }
        if let Some(body) = &body {
            record = record.payload(body.as_slice());
        }
        if let Headers::Pairs(pairs) = &headers {
            let insert = |all: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
                all.insert(Header { key: name, value: value.as_ref() })
            };
            record = record.headers(pairs.iter().fold(OwnedHeaders::new(), insert));
        }
        loop {
            match self.0.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, record)) => {
                    self.0.context().0.refused(&record.delivery_opaque, &error.to_string());
                    return Ok(());
                }
            }
        }
    }

    pub(crate) fn end(self) -> Result<(), String> {
        self.0.flush(LAST).map_err(|error| error.to_string())
    }
}
