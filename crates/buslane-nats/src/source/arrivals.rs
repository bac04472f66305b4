//! Messages that arrive: read, given a slot, and handed on or held.

use super::{
    End, Ready,
    pull::{Word, word},
    reader::{Reader, Turn},
    reply::numbers,
    window::{Answer, Fate},
};
use crate::wire;
use async_nats::{Subject, Subscriber};
use buslane_core::{Message, Route};
use futures_util::Stream;
use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Instant,
};

/// Messages that are taken from the client at a time.
const BATCH: usize = 512;

/// A message with its numbers.
pub(super) struct Arrived {
    message: Message,
    subject: Subject,
    answer: Answer,
    delivery: u64,
}

impl Reader {
    /// Understands what the server has sent; `None`: the inbox has ended.
    pub(super) async fn arrive(&mut self, messages: Option<Vec<async_nats::Message>>) -> Turn {
        let Some(messages) = messages else {
            self.inbox = None;
            return Turn::Again;
        };
        let now = Instant::now();
        self.heard = now;
        self.answers.heard(now);
        let (mut turn, mut arrived) = (Turn::On, Vec::with_capacity(messages.len()));
        for message in messages {
            // What is delivered asks for an answer, whatever the status that its publisher has put
            // into it.
            let status = message.status.filter(|_| message.reply.is_none());
            match word(status, message.description.as_deref(), message.headers.as_ref()) {
                Some(Word::Heartbeat) => {}
                Some(Word::Over(left)) => {
                    self.wanted = self.wanted.saturating_sub(left.unwrap_or(usize::MAX))
                }
                Some(Word::Gone(reason)) => {
                    tracing::debug!(
                        topic = self.shared.source.topic.as_str(),
                        reason,
                        "a request has ended"
                    );
                    turn = Turn::Again;
                }
                None => {
                    self.wanted = self.wanted.saturating_sub(1);
                    arrived.extend(self.read(message));
                }
            }
        }
        if self.take(arrived, now).await {
            turn = Turn::Again;
        }
        turn
    }

    pub(super) fn read(&mut self, message: async_nats::Message) -> Option<Arrived> {
        let reply = message.reply?;
        let numbers = numbers(&reply)?;
        let (key, headers) = wire::from_nats(message.headers.as_ref());
        Some(Arrived {
            subject: message.subject,
            answer: Answer {
                sequence: numbers.sequence,
                deliveries: numbers.deliveries,
                timestamp_ms: numbers.timestamp_ms,
                reply,
                fate: Fate::Back,
            },
            delivery: numbers.delivery,
            message: Message {
                source: Arc::clone(&self.shared.source),
                offset: numbers.sequence,
                timestamp_ms: numbers.timestamp_ms,
                key,
                headers,
                payload: self.pages.payload(message.payload),
                is_null: false,
                route: Route::None,
                kind: Default::default(),
                attempt: 0,
            },
        })
    }

    /// Strict at-most-once: only what the server knows as settled is handed on.
    pub(super) async fn settle_first(&mut self, now: Instant) {
        let batch = {
            let mut state = self.shared.state.lock();
            if state.unsettled.is_empty() || state.end != End::Open {
                return;
            }
            let batch = std::mem::take(&mut state.unsettled);
            for slot in batch.iter().filter_map(|ready| ready.slot) {
                state.window.settle(slot, Fate::Done);
            }
            batch
        };
        self.answers.send(&self.shared, now).await;
        if !self.answers.all_confirmed(self.link.request_timeout).await {
            let topic = self.shared.source.topic.as_str();
            return tracing::warn!(topic, "messages settled first were not confirmed: left out");
        }
        let mut state = self.shared.state.lock();
        state.ready.extend(batch.into_iter().map(|ready| Ready {
            slot: None,
            is_last: true,
            ..ready
        }));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives each message a slot, and hands it on or holds it. Whether a delivery is missing.
    pub(super) async fn take(&mut self, arrived: Vec<Arrived>, now: Instant) -> bool {
        let (mut again, mut is_missing, mut waker) = (Vec::new(), false, None);
        {
            let mut state = self.shared.state.lock();
            for Arrived { message, subject, answer, delivery } in arrived {
                let (sequence, is_last) = (answer.sequence, self.answers.is_last(&answer));
                let is_gap = self.expected.is_some_and(|expected| expected != delivery);
                if is_gap && self.plan.lease.is_some() && self.held.is_none() {
                    self.held = Some(BTreeMap::new());
                    is_missing = true;
                }
                // Where a source is shared, a gap is another reader.
                let goes_on = self.plan.lease.is_some() || (self.expected.is_some() && !is_gap);
                self.expected = goes_on.then_some(delivery + 1);
                if state.end != End::Open {
                    again.push(answer);
                    continue;
                }
                self.answers.arrived(sequence);
                if self.answers.is_settled(&answer, now) {
                    again.push(Answer { fate: Fate::Done, ..answer });
                    continue;
                }
                self.next_sequence = self.next_sequence.max(sequence + 1);
                let slot = state.window.open(
                    sequence,
                    answer.deliveries,
                    message.timestamp_ms,
                    answer.reply,
                    now,
                );
                if slot.is_none() {
                    continue;
                }
                let ready = Ready { message, subject, slot, is_last };
                match &mut self.held {
                    Some(held) => drop(held.insert(sequence, ready)),
                    None => state.put([ready]),
                }
            }
            if !state.ready.is_empty() {
                waker = state.waker.take();
            }
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        for answer in again {
            self.answers.answer(answer, now).await;
        }
        is_missing
    }

    /// Hands on what was held, in order.
    pub(super) fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.shared.looks_back.store(false, Ordering::Relaxed);
        let mut state = self.shared.state.lock();
        state.put(held.into_values());
        let waker = state.waker.take();
        let must_settle = !state.unsettled.is_empty();
        drop(state);
        if must_settle {
            self.shared.work.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The messages that are there, at least one; `None` at the end of the inbox, and never without
/// one.
pub(super) async fn next(inbox: Option<&mut Subscriber>) -> Option<Vec<async_nats::Message>> {
    let Some(inbox) = inbox else { return std::future::pending().await };
    let mut batch = Vec::new();
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut *inbox).poll_next(cx) {
                Poll::Ready(Some(message)) if batch.len() + 1 < BATCH => batch.push(message),
                Poll::Ready(Some(message)) => {
                    batch.push(message);
                    return Poll::Ready(Some(std::mem::take(&mut batch)));
                }
                Poll::Ready(None) if batch.is_empty() => return Poll::Ready(None),
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => {
                    return Poll::Ready(Some(std::mem::take(&mut batch)));
                }
            }
        }
    })
    .await
}
