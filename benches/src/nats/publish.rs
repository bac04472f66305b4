//! Publishing with the client alone, with the message ids and headers that the bus writes.

use super::Bare;
use crate::{
    Cost,
    broker::{Form, Made, publish},
};
use async_nats::{
    HeaderMap,
    jetstream::{Context, context::PublishAckFuture},
};
use buslane::{Record, broker::header};
use std::{collections::VecDeque, ops::Range, sync::Arc};
use tokio::runtime::Runtime;

/// Records on their way when a topic is filled.
const WINDOW: usize = 1_000;

impl Bare {
    pub(super) fn publish_records(
        &self,
        runtime: &Runtime,
        topic: &str,
        form: Form,
        messages: u64,
    ) -> Cost {
        let (context, made) = (runtime.block_on(self.connect()), Made::new(messages + 1));
        let topic: Arc<str> = topic.into();
        let publisher = |numbers: Range<u64>| {
            let (context, topic, made) = (context.clone(), Arc::clone(&topic), made.clone());
            async move {
                if form == Form::Batch {
                    return all(&context, &topic, numbers.map(|number| made.nth(number).clone()))
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
pub(super) async fn all(context: &Context, topic: &str, records: impl Iterator<Item = Record>) {
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
