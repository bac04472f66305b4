//! Bare clients of a real NATS with JetStream, which are the limit: settings as the bus gives them,
//! where they decide the speed.

use std::collections::VecDeque;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::pull::Stream;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::{Context, Message, stream};
use async_nats::{ConnectOptions, HeaderMap, jetstream};
use buslane::broker::header;
use buslane::config::{ActorPoolConfig, KeyedPoolConfig};
use buslane::{Config, Record};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::runtime::Runtime;

use super::broker::{Arrivals, Echo, Floor, Form, Made, publish};
use super::{Cost, cpu_time};

/// Clients of one NATS. Topics are streams, each with one subject.
#[derive(Debug)]
pub struct Bare {
    servers: String,
    storage: stream::StorageType,
}

impl Bare {
    /// Clients of the NATS that the environment names.
    ///
    /// # Panics
    /// When it names none.
    #[must_use]
    pub fn of_environment() -> Self {
        let servers = buslane_testkit::server::address("NATS_URL").replace("nats://", "");
        Self { servers, storage: stream::StorageType::File }
    }

    /// The same, with streams in the server's memory.
    #[must_use]
    pub fn in_memory(self) -> Self {
        Self { storage: stream::StorageType::Memory, ..self }
    }

    async fn connect(&self) -> Context {
        let servers: Vec<String> =
            self.servers.split(',').map(|server| format!("nats://{server}")).collect();
        let client =
            ConnectOptions::new().client_capacity(16_384).connect(servers).await.expect("a server");
        jetstream::new(client)
    }
}

impl Floor for Bare {
    fn url(&self) -> String {
        format!("nats://{}", self.servers)
    }

    fn pools<'a>(
        &self,
        config: &'a mut Config,
    ) -> (&'a mut KeyedPoolConfig, &'a mut ActorPoolConfig) {
        (&mut config.nats.keyed_pool, &mut config.nats.actor_pool)
    }

    fn create(&self, runtime: &Runtime, topic: &str, _: u32) {
        let config = stream::Config {
            name: topic.to_owned(),
            subjects: vec![topic.to_owned()],
            storage: self.storage,
            duplicate_window: Duration::from_secs(120),
            ..stream::Config::default()
        };
        runtime
            .block_on(async { self.connect().await.create_stream(config).await })
            .expect("a stream");
    }

    fn fill(&self, runtime: &Runtime, topic: &str, records: &mut dyn Iterator<Item = Record>) {
        runtime.block_on(async { publish_all(&self.connect().await, topic, records).await });
    }

    fn delete(&self, runtime: &Runtime, topic: &str) {
        let _ = runtime.block_on(async { self.connect().await.delete_stream(topic).await });
    }

    fn read(&self, runtime: &Runtime, topic: &str, messages: u64) -> Cost {
        runtime.block_on(async { read_all(&self.connect().await, topic, messages).await })
    }

    fn stored(&self, runtime: &Runtime, topic: &str, _: u32) -> Vec<Bytes> {
        runtime.block_on(async { stored_bodies(&self.connect().await, topic).await })
    }

    fn different(&self, messages: u64) -> u64 {
        messages + 1
    }

    fn publish(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost {
        self.publish_records(runtime, topic, form, messages)
    }

    fn echo(&self, runtime: &Runtime, topic: &str, log: &Arc<Arrivals>) -> Echo {
        self.echo_of(runtime, topic, log)
    }
}

/// Records on their way when a topic is filled.
const WINDOW: usize = 1_000;

impl Bare {
    fn publish_records(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost {
        let (context, made) = (runtime.block_on(self.connect()), Made::new(messages + 1));
        let topic: Arc<str> = topic.into();
        let publisher = |numbers: Range<u64>| {
            let (context, topic, made) = (context.clone(), Arc::clone(&topic), made.clone());
            async move {
                if form == Form::Batch {
                    return publish_all(
                        &context,
                        &topic,
                        numbers.map(|number| made.nth(number).clone()),
                    )
                    .await;
                }
                for number in numbers {
                    stored(send(&context, &topic, made.nth(number)).await).await;
                }
            }
        };
        publish(runtime, form, messages, publisher)
    }
}

/// Publishes records and waits for all acknowledgements.
async fn publish_all(context: &Context, topic: &str, records: impl Iterator<Item = Record>) {
    let mut sent = VecDeque::with_capacity(WINDOW);
    for record in records {
        if sent.len() == WINDOW
            && let Some(first) = sent.pop_front()
        {
            stored(first).await;
        }
        sent.push_back(send(context, topic, &record).await);
    }
    for sent in sent {
        stored(sent).await;
    }
}

async fn send(context: &Context, topic: &str, record: &Record) -> PublishAckFuture {
    let sent = context
        .publish_with_headers(topic.to_owned(), headers(record), record.payload.clone())
        .await;
    sent.expect("a connection")
}

async fn stored(sent: PublishAckFuture) {
    let acknowledgement = sent.await.expect("an acknowledgement");
    assert!(!acknowledgement.duplicate, "each record has an event id of its own");
}

fn headers(record: &Record) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in record.headers.iter() {
        let value = std::str::from_utf8(value).expect("headers of envelopes are text");
        if name == header::EVENT_ID {
            headers.insert("Nats-Msg-Id", value);
        }
        headers.insert(name, value);
    }
    headers
}

/// Messages of a request, as many as the bus asks for.
const BATCH: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// The messages of a durable consumer of its own, from the first one on.
async fn messages(context: &Context, topic: &str) -> Stream {
    let stream = context.get_stream(topic).await.expect("a stream");
    let config = pull::Config {
        durable_name: Some(buslane_testkit::server::unique("bare")),
        max_ack_pending: 100_000,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    consumer.stream().max_messages_per_batch(BATCH).messages().await.expect("messages")
}

async fn next(messages: &mut Stream) -> Message {
    messages.next().await.expect("messages have no end").expect("a message")
}

/// Takes and acknowledges `count` messages, measured from the first one.
async fn read_all(context: &Context, topic: &str, count: u64) -> Cost {
    let mut messages = messages(context, topic).await;
    let take = async {
        next(&mut messages).await.ack().await.expect("a connection");
        let (start, cpu) = (Instant::now(), cpu_time());
        for _ in 1..count {
            let message = next(&mut messages).await;
            black_box(&message.payload);
            message.ack().await.expect("a connection");
        }
        Cost { messages: count, wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
    };
    tokio::time::timeout(PATIENCE, take).await.expect("all messages")
}

/// The bodies of all messages in a stream.
async fn stored_bodies(context: &Context, topic: &str) -> Vec<Bytes> {
    let count = context.get_stream(topic).await.expect("a stream").cached_info().state.messages;
    let mut messages = messages(context, topic).await;
    let mut bodies = Vec::new();
    for _ in 0..count {
        bodies.push(next(&mut messages).await.payload.clone());
    }
    bodies
}

impl Bare {
    /// The records are those of the bus, with a key and a message id.
    fn echo_of(&self, runtime: &Runtime, topic: &str, log: &Arc<Arrivals>) -> Echo {
        let context = runtime.block_on(self.connect());
        let mut messages = runtime.block_on(messages(&context, topic));
        let log = Arc::clone(log);
        let listening = runtime.spawn(async move {
            loop {
                let message = next(&mut messages).await;
                log.arrive(&message.payload);
                message.ack().await.expect("a connection");
            }
        });
        let (topic, sent) = (topic.to_owned(), AtomicU64::new(0));
        Echo {
            publish: Box::new(move |body| {
                let (context, topic) = (context.clone(), topic.clone());
                let id = format!("{topic}.{:016x}", sent.fetch_add(1, Relaxed));
                Box::pin(async move {
                    let mut headers = HeaderMap::new();
                    headers.insert("Buslane-Key", "=order-1");
                    headers.insert("Nats-Msg-Id", id);
                    let sent = context.publish_with_headers(topic, headers, body.into()).await;
                    sent.expect("a connection").await.expect("an acknowledgement");
                })
            }),
            end: Box::new(move || listening.abort()),
        }
    }
}
