//! Pulling and acknowledging with the client alone.

use super::Bare;
use crate::{
    Cost,
    broker::{Arrivals, Echo},
    cpu_time,
};
use async_nats::{
    HeaderMap,
    jetstream::{
        Context, Message,
        consumer::pull::{self, Stream},
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

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
pub(super) async fn all(context: &Context, topic: &str, count: u64) -> Cost {
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
pub(super) async fn stored(context: &Context, topic: &str) -> Vec<Bytes> {
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
    pub(super) fn echo_of(&self, runtime: &Runtime, topic: &str, log: &Arc<Arrivals>) -> Echo {
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
