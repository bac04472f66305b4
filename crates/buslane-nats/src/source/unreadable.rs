//! Messages whose headers the client library cannot read are taken from the stream, not from a
//! delivery.
//!
//! The library ends its connection when such a message is delivered, or its task, again at each
//! delivery. So after a loss, before anything is asked for, the reader looks through what the
//! server has delivered and is not open here. What it finds it holds at the server, which so
//! delivers it to nobody, and hands it on with the rest.

use super::{
    Ready,
    reader::Reader,
    reply::forge,
    window::{Answer, Fate},
};
use crate::{
    block, names,
    stored::{self, Unreadable},
};
use async_nats::jetstream::consumer::Info;
use buslane_core::{Message, Route};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// Questions on their way to the server.
const AT_A_TIME: usize = 32;
/// Places that are looked at until what is open is kept alive again.
const PART: usize = 512;

/// What the server tells of a message that was given back.
#[derive(Deserialize)]
struct Naked {
    stream_seq: u64,
}

/// Where the look goes on that could not see everything.
#[derive(Default)]
pub(super) struct Looked {
    /// Everything below was looked at.
    below: u64,
    /// What was found: it may have been given back.
    found: BTreeSet<u64>,
}

impl Reader {
    /// Looks for messages that were delivered here and cannot be read, and takes them. A server
    /// that does not answer is no reason to stop: then what was lost is asked for as ever.
    pub(super) async fn look_for_unreadable(&mut self, info: &Info) -> Result<(), String> {
        let (places, end) = self.places(info);
        let mut found = Vec::new();
        for part in places.chunks(PART) {
            match self.look_at(part).await {
                Ok(more) => found.extend(more),
                Err(reason) => {
                    let topic = self.shared.source.topic.as_str();
                    tracing::warn!(
                        topic,
                        reason,
                        "cannot look for messages whose headers cannot be read"
                    );
                    return Ok(());
                }
            }
            self.turn_or_fail(Instant::now()).await?;
        }
        if !found.is_empty() {
            let delivery = info.delivered.consumer_sequence;
            let open = self.hold(&found, delivery).await?;
            found.retain(|message| open.contains(&message.sequence));
            self.looked.found.extend(open);
            self.take_unreadable(found, delivery).await;
        }
        self.looked.below = self.looked.below.max(end);
        Ok(())
    }

    /// Places of the stream that the server may have delivered and that are not open here: all, or
    /// the last ones, and from the first ones as many again each time. With the end of the first
    /// ones.
    fn places(&mut self, info: &Info) -> (Vec<u64>, u64) {
        let (first, last) = (info.ack_floor.stream_sequence + 1, info.delivered.stream_sequence);
        self.looked.found = self.looked.found.split_off(&first);
        let half = self.link.depth() as u64 / 2;
        if half == 0 {
            return (Vec::new(), 0);
        }
        let newest = (last + 1).saturating_sub(half).max(first);
        let oldest = self.looked.below.max(first);
        let end = newest.min(oldest.saturating_add(half));
        let places: BTreeSet<u64> =
            (oldest..end).chain(newest..=last).chain(self.looked.found.iter().copied()).collect();
        let state = self.shared.state.lock();
        (places.into_iter().filter(|sequence| !state.window.contains(*sequence)).collect(), end)
    }

    async fn look_at(&mut self, places: &[u64]) -> Result<Vec<Unreadable>, String> {
        let (client, stream) = (self.link.client(), &self.plan.consumer.stream);
        let look = |sequence: &u64| stored::unreadable(&client, stream, *sequence);
        let found: Vec<Option<Unreadable>> =
            stream::iter(places.iter().map(look)).buffered(AT_A_TIME).try_collect().await?;
        let subject = names::subject(&self.shared.source.topic, self.shared.partition);
        // A stream holds other topics too, and other partitions.
        let is_own = |message: &Unreadable| {
            let more = message.subject.strip_prefix(&subject);
            more.is_some_and(|more| {
                more.is_empty() || (self.shared.partition.is_some() && more.starts_with('.'))
            })
        };
        Ok(found.into_iter().flatten().filter(is_own).collect())
    }

    /// Holds messages at the server for a while: none of them is delivered. Which of them are open
    /// at all, it tells by the way.
    async fn hold(&mut self, found: &[Unreadable], delivery: u64) -> Result<BTreeSet<u64>, String> {
        let (client, consumer) = (self.link.client(), &self.plan.consumer);
        let given_back = format!(
            "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.{}.{}",
            consumer.stream, consumer.durable
        );
        let mut told = client.subscribe(given_back).await.map_err(|error| error.to_string())?;
        let hold = Bytes::from(format!(
            r#"-NAK {{"delay":{}}}"#,
            consumer.settings.patience().1.as_nanos()
        ));
        let ask = |message: &Unreadable| {
            let subject = forge(&consumer.stream, &consumer.durable, message.sequence, delivery);
            client.request(subject, hold.clone())
        };
        let asked =
            stream::iter(found.iter().map(ask)).buffered(AT_A_TIME).try_collect::<Vec<_>>().await;
        asked.map_err(|error| error.to_string())?;
        if self.link.is_deaf() {
            return Ok(found.iter().map(|message| message.sequence).collect());
        }
        // It tells before it answers, over the same connection.
        let mut open = BTreeSet::new();
        while let Some(Some(message)) = tokio::task::unconstrained(told.next()).now_or_never() {
            open.extend(
                serde_json::from_slice(&message.payload).map(|Naked { stream_seq }| stream_seq),
            );
        }
        Ok(open)
    }

    /// Gives each message a slot, and holds it until everything has come that goes before it.
    async fn take_unreadable(&mut self, found: Vec<Unreadable>, delivery: u64) {
        let now = Instant::now();
        let (consumer, mut again) = (&self.plan.consumer, Vec::new());
        // It was delivered before. Where the server does so a number of times, this may be the
        // last.
        let deliveries = consumer.settings.max_deliver.map_or(2, u64::from);
        for Unreadable { sequence, subject, timestamp_ms, block, payload, fault } in found {
            let reply: async_nats::Subject =
                forge(&consumer.stream, &consumer.durable, sequence, delivery).into();
            let answer = Answer {
                sequence,
                deliveries,
                timestamp_ms,
                reply: reply.clone(),
                fate: Fate::Done,
            };
            if self.answers.is_settled(&answer, now) {
                again.push(answer);
                continue;
            }
            let source = &self.shared.source;
            let mut state = self.shared.state.lock();
            if state.window.room() == 0 {
                break;
            }
            let slot = state.window.open(sequence, deliveries, timestamp_ms, reply, now);
            drop(state);
            if slot.is_none() {
                continue;
            }
            self.answers.arrived(sequence);
            self.next_sequence = self.next_sequence.max(sequence + 1);
            // One delivery less that is missing.
            self.expected = self.expected.map(|expected| expected + 1);
            self.link.unreadable.fetch_add(1, Ordering::Relaxed);
            let (topic, partition) = (source.topic.as_str(), source.partition);
            tracing::error!(
                topic,
                partition,
                sequence,
                fault,
                "headers cannot be read: taken with their raw bytes"
            );
            let (key, headers) = block::read(&block);
            let message = Message {
                source: Arc::clone(source),
                offset: sequence,
                timestamp_ms,
                key,
                headers,
                payload,
                is_null: false,
                route: Route::None,
                kind: Default::default(),
                attempt: 0,
            };
            let is_last = self.answers.is_last(&answer);
            let ready = Ready { message, subject: subject.into(), slot, is_last };
            self.held.get_or_insert_default().insert(sequence, ready);
        }
        for answer in again {
            self.answers.answer(answer, now).await;
        }
    }
}
