//! Catching up: messages that an earlier reader left open, or that a lost connection dropped, come
//! before any new message.
//!
//! The server counts such messages as delivered, delivers them again only after `ack_wait`, and
//! sends new ones meanwhile: the third message of a key before its second. So a reader hands on no
//! message until all open messages of the server have arrived. A reader without rivals negatively
//! acknowledges the missing deliveries. Any other reader waits as long as the server does, unless
//! another reader is present.

use super::{
    ack_queue::IN_PROGRESS,
    delivery::forge,
    handle::Ready,
    inbox::Request,
    open_messages::{Ack, AckKind},
    reader::{Next, Reader},
    unreadable,
};
use crate::{
    header_block,
    link::Epoch,
    stored::{self, StoredMessage},
    wire,
};
use async_nats::jetstream::consumer::Info;
use buslane_core::Record;
use bytes::Bytes;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The time that the server may take to notice that a message is due again.
const SLACK: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The number of messages that a search reads between two reports of open messages as in progress.
const SEARCH_STEP: usize = 512;
const REPLACED: &str = "the connection changed";

/// Waits for an answer of the server. Fails at once when another connection replaces the one that
/// carries the request: the answer never arrives, and `ack_wait` passes meanwhile.
async fn unless_replaced<T>(
    epoch: &watch::Receiver<Epoch>,
    answer: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    // A copy of the receiver, so that the reader sees the change too.
    let mut epoch = epoch.clone();
    tokio::select! {
        biased;
        answer = answer => answer,
        Ok(()) = epoch.changed() => Err(REPLACED.to_owned()),
    }
}

impl Reader {
    /// Returns when the next delivery is a new message. Messages that arrive meanwhile are held,
    /// and handed on in order at the end.
    pub(super) async fn recover(&mut self) -> Result<(), String> {
        self.held.get_or_insert_default();
        let until = Instant::now() + self.source.consumer.settings.ack_timeouts().0 + SLACK;
        let (mut has_searched, mut has_requested, mut pause) = (false, false, FIRST_PAUSE);
        let is_limited = self.source.consumer.settings.max_deliver.is_some();
        loop {
            self.acks.send(&self.handle, Instant::now()).await;
            self.acks.send_naks().await;
            let confirmed = self.acks.all_confirmed(self.link.request_timeout);
            let is_confirmed = unless_replaced(&self.epoch, async { Ok(confirmed.await) }).await?;
            let info = self.source.consumer.info_or_create(&self.link, self.next_sequence);
            let (info, is_new) = unless_replaced(&self.epoch, info).await?;
            if is_new {
                // The consumer that could confirm the acknowledgements is gone.
                self.acks.forget();
            } else if !is_confirmed {
                return Err("acknowledgements are not confirmed".to_owned());
            }
            let mut missing = self.missing(&info);
            if missing > 0 && (!has_searched || self.search.takes_readable()) {
                let is_alone = self.is_alone(&info, missing);
                let has_answered = Box::pin(self.take_from_stream(&info, is_alone)).await?;
                // Messages at their last delivery do not arrive in any other way.
                has_searched = has_answered || !is_limited;
                missing = self.missing(&info);
            }
            let (is_late, is_alone) = (Instant::now() >= until, self.is_alone(&info, missing));
            if missing == 0 || (!is_alone && info.num_waiting > 0) {
                self.end_catch_up(&info);
                return Ok(());
            }
            // A negative acknowledgement does not return a message at its last delivery.
            if is_alone && has_searched && !self.search.takes_readable() {
                self.give_back(&info).await?;
            }
            if is_alone || !has_requested || is_late {
                has_requested = true;
                self.take_at_once(missing).await?;
            }
            if is_late {
                self.end_catch_up(&info);
                return Ok(());
            }
            let next = (Instant::now() + pause).min(until);
            pause = (pause * 2).min(LONGEST_PAUSE);
            while Instant::now() < next {
                self.step_or_fail(next).await?;
            }
        }
    }

    /// The number of messages that are open at the server and not here.
    fn missing(&self, info: &Info) -> usize {
        info.num_ack_pending.saturating_sub(self.handle.open())
    }

    /// Whether the missing messages were on their way to this reader alone. A lease proves that.
    /// Without a lease, this reader must have received every delivery so far, as many must be
    /// missing as were made since, and no other reader may wait. Negatively acknowledged messages
    /// may be missing, or not delivered yet.
    fn is_alone(&self, info: &Info, missing: usize) -> bool {
        let since = self
            .expected
            .and_then(|expected| (info.delivered.consumer_sequence + 1).checked_sub(expected));
        let possible = missing.saturating_sub(self.acks.returned()) as u64..=missing as u64;
        self.source.lease.is_some()
            || (info.num_waiting == 0 && since.is_some_and(|since| possible.contains(&since)))
    }

    /// At the end of reading, returns deliveries that were lost on their way, if they are known.
    pub(super) async fn give_back_lost_deliveries(&mut self) {
        self.acks.send(&self.handle, Instant::now()).await;
        self.acks.send_naks().await;
        // Unread acknowledgements would make their messages count as missing.
        if !self.acks.all_confirmed(self.link.request_timeout).await {
            return;
        }
        let Ok(info) = self.source.consumer.info(&self.link).await else { return };
        let missing = self.missing(&info);
        if missing > 0 && self.is_alone(&info, missing) && self.give_back(&info).await.is_err() {
            let topic = self.handle.source.topic.as_str();
            tracing::debug!(topic, "some messages come again later");
        }
    }

    fn end_catch_up(&mut self, info: &Info) {
        let after = info.delivered.consumer_sequence + 1;
        // With another reader, the numbers of this reader's deliveries have gaps.
        let is_shared = self.source.lease.is_none() && info.num_waiting > 0;
        self.expected =
            (!is_shared).then(|| self.expected.map_or(after, |expected| expected.max(after)));
        self.release();
    }

    /// Hands on the held messages, in order.
    fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.handle.is_recovering.store(false, Ordering::Relaxed);
        let mut state = self.handle.state.lock();
        state.put(held.into_values());
        let waker = state.waker.take();
        let must_settle = !state.unsettled.is_empty();
        drop(state);
        if must_settle {
            self.handle.work.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Requests `count` messages, and waits until they have arrived or the server has no more.
    async fn take_at_once(&mut self, count: usize) -> Result<(), String> {
        let count = count.min(self.handle.state.lock().open.room());
        if count == 0 {
            return Ok(());
        }
        self.request(count, Request::at_once(count)).await;
        while self.inbox.requested > 0 {
            self.step_or_fail(Instant::now() + LONGEST_PAUSE).await?;
        }
        Ok(())
    }

    async fn step_or_fail(&mut self, until: Instant) -> Result<(), String> {
        match self.step(until).await {
            Next::Continue => Ok(()),
            Next::End => Err("the source has ended".to_owned()),
            Next::Restart => Err(REPLACED.to_owned()),
        }
    }

    /// Negatively acknowledges deliveries to a reader that is gone.
    async fn give_back(&mut self, info: &Info) -> Result<(), String> {
        let consumer = &self.source.consumer;
        let (floor, last) = (info.ack_floor.stream_sequence, info.delivered.stream_sequence);
        let delivery = info.delivered.consumer_sequence;
        let mut lost: Vec<u64> = {
            let state = self.handle.state.lock();
            (floor + 1..=last).filter(|sequence| !state.open.contains(*sequence)).collect()
        };
        let Some(final_one) = lost.pop() else { return Ok(()) };
        let subject = |sequence| forge(&consumer.stream, &consumer.durable, sequence, delivery);
        let error = |error: async_nats::PublishError| error.to_string();
        let nak = Bytes::from_static(b"-NAK");
        for sequence in lost {
            self.link.client().publish(subject(sequence), nak.clone()).await.map_err(error)?;
        }
        self.link.client().publish(subject(final_one), nak).await.map_err(error)?;
        // The server reads in order, so its answer confirms all negative acknowledgements.
        let client = self.link.client();
        let confirmed = client.request(subject(final_one), IN_PROGRESS);
        unless_replaced(&self.epoch, async { confirmed.await.map_err(|error| error.to_string()) })
            .await
            .map(drop)
    }

    /// Takes missing messages that the client library cannot read from the stream. The connection
    /// that these messages ended has dropped readable messages too, also of other partitions. With
    /// `max_deliver`, these may have had their last delivery, so a reader without rivals takes them
    /// as well, whatever ended the connection.
    ///
    /// A search without an answer does not stop the reader, which then requests the missing
    /// messages as without a search. Returns whether the server has answered.
    async fn take_from_stream(&mut self, info: &Info, is_alone: bool) -> Result<bool, String> {
        let (mut sequences, end) = self.search.range(info);
        {
            let state = self.handle.state.lock();
            sequences.retain(|sequence| !state.open.contains(*sequence));
        }
        let (sequences, mut found) = (Vec::from_iter(sequences), Vec::new());
        let is_limited = self.source.consumer.settings.max_deliver.is_some();
        for part in sequences.chunks(SEARCH_STEP) {
            let consumer = &self.source.consumer;
            let read = unreadable::read(&self.link, consumer, part, is_limited && is_alone);
            let read = unless_replaced(&self.epoch, async { Ok(read.await) }).await?;
            match read {
                Ok(more) => found.extend(more),
                Err(reason) => {
                    if let Some(reason) = self.search.fail(reason) {
                        let topic = self.handle.source.topic.as_str();
                        let right = format!("publish to {}", stored::subject(&consumer.stream));
                        tracing::warn!(
                            topic,
                            reason,
                            needs = right,
                            "cannot look for messages whose headers cannot be read"
                        );
                    }
                    return Ok(false);
                }
            }
            self.step_or_fail(Instant::now()).await?;
        }
        if is_limited && is_alone {
            self.search.take_readable();
        } else if is_limited && found.iter().any(|message| message.headers.is_err()) {
            tracing::warn!(
                topic = self.handle.source.topic.as_str(),
                missing = self.missing(info),
                "a lost connection may have taken the last delivery of messages"
            );
        }
        if !self.search.takes_readable() {
            found.retain(|message| message.headers.is_err());
        }
        let mut open = Default::default();
        if !found.is_empty() {
            let delivery = info.delivered.consumer_sequence;
            let held = unreadable::hold(&self.link, &self.source.consumer, &found, delivery);
            open = unless_replaced(&self.epoch, held).await?;
            found.retain(|message| open.contains(&message.sequence));
            self.open_stored(found, delivery).await;
        }
        self.search.finish(end, open);
        Ok(true)
    }

    /// Assigns a slot to each message, and holds the message with the others until all have
    /// arrived.
    async fn open_stored(&mut self, found: Vec<StoredMessage>, delivery: u64) {
        let now = Instant::now();
        let (consumer, mut settled) = (&self.source.consumer, Vec::new());
        // The number of deliveries of the message is unknown. With a limit, this may be the last
        // delivery; without one, it is not the first.
        let deliveries = consumer.settings.max_deliver.map_or(2, u64::from);
        for stored in found {
            let (sequence, timestamp_ms) = (stored.sequence, stored.timestamp_ms);
            let reply: async_nats::Subject =
                forge(&consumer.stream, &consumer.durable, sequence, delivery).into();
            let (kind, to) = (AckKind::Ack, reply.clone());
            let ack = Ack { sequence, deliveries, timestamp_ms, reply: to, kind };
            if self.acks.is_settled(&ack, now) {
                settled.push(ack);
                continue;
            }
            let mut state = self.handle.state.lock();
            // A message without another delivery is taken in any case. The server's limit of open
            // messages bounds the number of such messages.
            if state.open.room() == 0 && !self.search.takes_readable() {
                break;
            }
            let slot = state.open.insert(sequence, deliveries, timestamp_ms, reply, now);
            drop(state);
            if slot.is_none() {
                continue;
            }
            self.acks.arrived(sequence);
            self.next_sequence = self.next_sequence.max(sequence + 1);
            // One delivery less is missing.
            self.expected = self.expected.map(|expected| expected + 1);
            let source = Arc::clone(&self.handle.source);
            let (key, headers) = match &stored.headers {
                Ok(headers) => wire::from_nats(Some(headers)),
                Err(fault) => {
                    self.link.unreadable.fetch_add(1, Ordering::Relaxed);
                    let (topic, partition) = (source.topic.as_str(), source.partition);
                    tracing::error!(
                        topic,
                        partition,
                        sequence,
                        fault,
                        "headers cannot be read: taken with their raw bytes"
                    );
                    header_block::read_what_is_readable(&stored.block)
                }
            };
            let mut record = Record::new(stored.payload).with_headers(headers);
            record.key = key;
            let message = record.into_message(source, sequence, timestamp_ms);
            let is_last = self.acks.is_last(&ack);
            let ready = Ready { message, subject: stored.subject.into(), slot, is_last };
            self.held.get_or_insert_default().insert(sequence, ready);
        }
        for ack in settled {
            self.acks.push(ack, now).await;
        }
    }
}
