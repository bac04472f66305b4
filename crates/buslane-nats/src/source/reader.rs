//! The task of a source requests messages while there is capacity, acknowledges settled messages,
//! and reports open ones as in progress.
//!
//! [`catch_up`](super::catch_up) handles the server's open messages when the reader begins, or
//! begins again after a lost connection.

use super::{
    ack_queue::AckQueue,
    delivery::{self, NumberedMessage, PayloadArena},
    handle::{End, Ready, SourceHandle},
    inbox::{Inbox, PullStatus, Request, next_batch, pull_status},
    open_messages::{Ack, AckKind},
    recently_acked::RecentlyAcked,
    unreadable::UnreadableSearch,
};
use crate::{
    consumers::DurableConsumer,
    lease::term::Lease,
    link::{Epoch, Link},
};
use buslane_core::{SymptomKind, excerpt};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};

const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a reader that has ended waits for messages in flight, and for the last confirmation.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A durable consumer, and the lease to read it.
pub(crate) struct DurableSource {
    pub(crate) consumer: DurableConsumer,
    /// Excludes all other members from reading, so that a missing delivery was lost on its way.
    /// `None` when members share the consumer.
    pub(crate) lease: Option<Lease>,
}

pub(crate) struct Reader {
    pub(super) link: Arc<Link>,
    pub(super) handle: Arc<SourceHandle>,
    pub(super) source: DurableSource,
    pub(super) epoch: watch::Receiver<Epoch>,
    pub(super) inbox: Inbox,
    report_at: Instant,
    timer: Pin<Box<Sleep>>,
    arena: PayloadArena,
    pub(super) acks: AckQueue,
    /// While the reader catches up, the messages that have arrived, by sequence.
    pub(super) held: Option<BTreeMap<u64, Ready>>,
    /// The number of the next delivery, if no other reader receives any.
    pub(super) expected: Option<u64>,
    /// The sequence after the last new message.
    pub(super) next_sequence: u64,
    pub(super) search: UnreadableSearch,
    failures: u32,
}

/// How the reader continues after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    /// The source has ended.
    End,
    /// The requests are void, so the reader begins again.
    Restart,
}

impl Reader {
    /// `recent` are the acknowledgements of the source's previous reader in this process.
    pub(crate) fn new(
        link: Arc<Link>,
        handle: Arc<SourceHandle>,
        source: DurableSource,
        recent: RecentlyAcked,
    ) -> Self {
        let (epoch, now) = (link.epoch.clone(), Instant::now());
        let acks = AckQueue::new(link.client(), source.consumer.settings.max_deliver, recent);
        Self {
            link,
            handle,
            source,
            epoch,
            inbox: Inbox::new(now),
            report_at: now,
            timer: Box::pin(sleep(Duration::ZERO)),
            arena: PayloadArena::default(),
            acks,
            held: None,
            expected: None,
            next_sequence: 0,
            search: UnreadableSearch::default(),
            failures: 0,
        }
    }

    /// Reads until the source ends, then until no message is open or the deadline passes. Returns
    /// the number of messages that were open then, and the recent acknowledgements. Rare steps are
    /// boxed, because there may be many readers, and most of them only read.
    pub(crate) async fn run(mut self) -> (usize, RecentlyAcked) {
        let mut must_begin = true;
        loop {
            if self.handle.end_state() != End::Open {
                for kind in [SymptomKind::PartitionDead, SymptomKind::SettlementRefused] {
                    self.link.symptoms.clear(kind, self.handle.place());
                }
                let open = Box::pin(self.finish()).await;
                return (open, self.acks.into_recent());
            }
            if must_begin {
                match Box::pin(self.begin()).await {
                    Ok(()) => {
                        (must_begin, self.failures) = (false, 0);
                        self.link.symptoms.clear(SymptomKind::PartitionDead, self.handle.place());
                    }
                    Err(reason) => self.pause(reason).await,
                }
                continue;
            }
            self.pull().await;
            let idle = Instant::now() + self.source.consumer.settings.heartbeat * 2;
            must_begin = self.step(idle).await == Next::Restart;
        }
    }

    /// Opens a new inbox, and recovers the server's open messages.
    async fn begin(&mut self) -> Result<(), String> {
        let epoch = *self.epoch.borrow_and_update();
        self.search.begin(epoch, Instant::now());
        self.held.get_or_insert_default();
        self.handle.is_recovering.store(true, Ordering::Relaxed);
        self.close_inbox().await;
        let client = self.link.client();
        self.inbox.open(&client).await.map_err(|error| error.to_string())?;
        self.acks.client = client;
        self.acks.send_again().await;
        self.recover().await
    }

    /// Records a failed beginning, and waits before the next one.
    async fn pause(&mut self, reason: String) {
        let reason = match self.search.failure() {
            Some(failure) => {
                format!("{reason}; no search for messages with unreadable headers: {failure}")
            }
            None => reason,
        };
        let source = &self.handle.source;
        self.failures += 1;
        self.link.symptoms.note(SymptomKind::PartitionDead, self.handle.place(), &*reason);
        if self.failures == 3 {
            tracing::warn!(
                topic = source.topic.as_str(),
                partition = source.partition,
                reason = %excerpt::error(&reason),
                "reading is interrupted"
            );
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        let until = Instant::now() + pause;
        while Instant::now() < until && self.handle.end_state() == End::Open {
            self.step(until).await;
        }
    }

    /// Requests as many messages as fit, once half of the last request has arrived.
    async fn pull(&mut self) {
        let settings = &self.source.consumer.settings;
        let (prefetch, requested) = (settings.prefetch as usize, self.inbox.requested);
        let (ready, room) = {
            let state = self.handle.state.lock();
            (state.ready.len() + state.unsettled.len(), state.open.room())
        };
        let most = prefetch.saturating_sub(ready + requested).min(room.saturating_sub(requested));
        if most == 0 || requested + ready > prefetch / 2 {
            return;
        }
        let request = Request::waiting(most, settings.expires, settings.heartbeat);
        self.request(most, request).await;
    }

    pub(super) async fn request(&mut self, count: usize, request: Request) {
        let consumer = self.source.consumer.next_subject();
        self.inbox.request(&self.link.client(), consumer, count, request).await;
    }

    /// Waits for the next event, at most until `until`, and handles it.
    pub(super) async fn step(&mut self, until: Instant) -> Next {
        let silence = self.source.consumer.settings.heartbeat * 2 + Duration::from_millis(500);
        let mut wake = until.min(self.report_at);
        wake = self.acks.due().map_or(wake, |due| wake.min(due));
        if self.inbox.requested > 0 {
            wake = wake.min(self.inbox.heard + silence);
        }
        if let End::Ended(Some(deadline)) = self.handle.end_state() {
            wake = wake.min(deadline);
        }
        // Resetting the timer is not cheap, and most steps end long before it. A step that ends too
        // early does no harm.
        if self.timer.is_elapsed() || wake < self.timer.deadline().into_std() {
            self.timer.as_mut().reset(wake.into());
        }
        let mut next = Next::Continue;
        tokio::select! {
            biased;
            _ = self.epoch.changed() => next = Next::Restart,
            () = self.handle.work.notified() => {}
            messages = self.inbox.next() => next = self.arrive(messages).await,
            is_confirmed = self.acks.confirmed() => self.note_confirmation(is_confirmed),
            () = self.timer.as_mut() => {}
        }
        let now = Instant::now();
        if self.handle.is_ours() {
            self.settle_first(now).await;
            self.acks.send(&self.handle, now).await;
        }
        if now >= self.report_at {
            self.report_in_progress(now).await;
        }
        if next == Next::Continue && self.inbox.requested > 0 && now >= self.inbox.heard + silence {
            let topic = self.handle.source.topic.as_str();
            tracing::debug!(topic, "the server is silent: requesting again");
            next = Next::Restart;
        }
        match self.handle.end_state() {
            End::Open => next,
            _ => Next::End,
        }
    }

    fn note_confirmation(&self, is_confirmed: bool) {
        let (kind, place) = (SymptomKind::SettlementRefused, self.handle.place());
        if is_confirmed {
            self.link.symptoms.clear(kind, place);
        } else {
            self.link.symptoms.note(kind, place, "the server does not confirm acknowledgements");
        }
    }

    /// Reports open messages as in progress before the server delivers them again.
    async fn report_in_progress(&mut self, now: Instant) {
        if !self.handle.is_ours() {
            return;
        }
        let interval = self.source.consumer.settings.progress_interval();
        self.report_at = now + interval / 2;
        let mut silent = Vec::new();
        if let Some(before) = now.checked_sub(interval / 2) {
            self.handle.state.lock().open.silent_since(before, now, &mut silent);
        }
        self.acks.report_in_progress(silent).await;
    }

    /// Handles the messages of the inbox; `None` means that the subscription has ended.
    async fn arrive(&mut self, messages: Option<Vec<async_nats::Message>>) -> Next {
        let Some(messages) = messages else {
            self.inbox.take();
            return Next::Restart;
        };
        let now = Instant::now();
        self.inbox.heard = now;
        self.acks.heard(now);
        let requested = &mut self.inbox.requested;
        let (mut next, mut arrivals) = (Next::Continue, Vec::with_capacity(messages.len()));
        for message in messages {
            // A delivery has a reply subject, and its publisher may have set any status.
            let status = message.status.filter(|_| message.reply.is_none());
            let headers = message.headers.as_ref();
            match pull_status(status, message.description.as_deref(), headers) {
                Some(PullStatus::Heartbeat) => {}
                Some(PullStatus::Ended(left)) => {
                    *requested = requested.saturating_sub(left.unwrap_or(usize::MAX));
                }
                Some(PullStatus::Unavailable(reason)) => {
                    let topic = self.handle.source.topic.as_str();
                    tracing::debug!(topic, reason, "a request has ended");
                    next = Next::Restart;
                }
                None => {
                    *requested = requested.saturating_sub(1);
                    arrivals.extend(delivery::read(&self.handle.source, &mut self.arena, message));
                }
            }
        }
        if self.take(arrivals, now).await {
            next = Next::Restart;
        }
        next
    }

    /// Assigns a slot to each message, and hands the message on or holds it. Returns whether a
    /// delivery is missing.
    async fn take(&mut self, arrivals: Vec<NumberedMessage>, now: Instant) -> bool {
        let (mut refused, mut is_missing, mut waker) = (Vec::new(), false, None);
        let has_lease = self.source.lease.is_some();
        {
            let mut state = self.handle.state.lock();
            for NumberedMessage { message, subject, ack, delivery } in arrivals {
                let (sequence, is_last) = (ack.sequence, self.acks.is_last(&ack));
                let is_gap = self.expected.is_some_and(|expected| expected != delivery);
                if is_gap && has_lease && self.held.is_none() {
                    self.held = Some(BTreeMap::new());
                    is_missing = true;
                }
                // When members share the source, another reader received the deliveries of a gap.
                let goes_on = has_lease || (self.expected.is_some() && !is_gap);
                self.expected = goes_on.then_some(delivery + 1);
                if state.end != End::Open {
                    refused.push(ack);
                    continue;
                }
                self.acks.arrived(sequence);
                if self.acks.is_settled(&ack, now) {
                    refused.push(Ack { kind: AckKind::Ack, ..ack });
                    continue;
                }
                self.next_sequence = self.next_sequence.max(sequence + 1);
                let (deliveries, timestamp_ms) = (ack.deliveries, message.timestamp_ms);
                let slot = state.open.insert(sequence, deliveries, timestamp_ms, ack.reply, now);
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
        for ack in refused {
            self.acks.push(ack, now).await;
        }
        is_missing
    }

    /// Strict at-most-once: hands on a message only after the server has confirmed its
    /// acknowledgement.
    async fn settle_first(&mut self, now: Instant) {
        let batch = {
            let mut state = self.handle.state.lock();
            if state.unsettled.is_empty() || state.end != End::Open {
                return;
            }
            let batch = std::mem::take(&mut state.unsettled);
            for slot in batch.iter().filter_map(|ready| ready.slot) {
                state.open.settle(slot, AckKind::Ack);
            }
            batch
        };
        self.acks.send(&self.handle, now).await;
        if !self.acks.all_confirmed(self.link.request_timeout).await {
            let topic = self.handle.source.topic.as_str();
            return tracing::warn!(topic, "messages settled first were not confirmed: left out");
        }
        let mut state = self.handle.state.lock();
        let settled = batch.into_iter().map(|ready| Ready { slot: None, is_last: true, ..ready });
        state.ready.extend(settled);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the source: returns unread messages to the server, and waits for open ones.
    async fn finish(&mut self) -> usize {
        if self.handle.end_state() == End::Lost {
            return 0;
        }
        self.give_back_unread().await;
        loop {
            let deadline = match self.handle.end_state() {
                End::Lost => return 0,
                End::Open | End::Ended(None) => None,
                End::Ended(deadline) => deadline,
            };
            let now = Instant::now();
            self.acks.send(&self.handle, now).await;
            self.acks.send_naks().await;
            let open = self.handle.open();
            if open == 0 || deadline.is_some_and(|deadline| now >= deadline) {
                return self.leave(open).await;
            }
            if self.step(now + LONGEST_PAUSE).await == Next::Restart {
                self.acks.send_again().await;
            }
        }
    }

    /// Ends the requests, and takes their arrived messages. Messages in flight are lost, because
    /// the client forgets a subscription before the server does.
    async fn close_inbox(&mut self) {
        let Some(mut subscription) = self.inbox.take() else { return };
        let until = tokio::time::Instant::now() + END_TIMEOUT;
        let drained = tokio::time::timeout_at(until, subscription.drain()).await;
        while let Ok(Ok(())) = drained
            && let Ok(Some(messages)) =
                tokio::time::timeout_at(until, next_batch(&mut subscription)).await
        {
            let arrivals = messages
                .into_iter()
                .filter_map(|message| delivery::read(&self.handle.source, &mut self.arena, message))
                .collect();
            self.take(arrivals, Instant::now()).await;
        }
        // A server before 2.10.14 may redeliver a returned message for a request whose inbox is
        // gone. It then forgets the message and goes one step back in the stream. A request for the
        // consumer's information makes the server drop such requests first.
        let _ = tokio::time::timeout_at(until, self.source.consumer.info(&self.link)).await;
    }

    async fn give_back_unread(&mut self) {
        self.close_inbox().await;
        self.give_back_lost_deliveries().await;
        let held = self.held.take().unwrap_or_default();
        let mut state = self.handle.state.lock();
        let unread: Vec<u32> =
            state.unread().chain(held.into_values()).filter_map(|ready| ready.slot).collect();
        for slot in unread {
            state.open.settle(slot, AckKind::Nak);
        }
    }

    /// Returns open messages to the server, and waits for the last confirmation.
    async fn leave(&mut self, open: usize) -> usize {
        if open > 0 {
            let mut left = self.handle.abandon();
            left.sort_unstable_by_key(|ack| ack.sequence);
            for ack in left {
                self.acks.push(ack, Instant::now()).await;
            }
            self.acks.send_naks().await;
        }
        if !self.acks.all_confirmed(END_TIMEOUT).await {
            tracing::warn!(
                topic = self.handle.source.topic.as_str(),
                "the server has not confirmed the last answers"
            );
        }
        open
    }
}
