//! Sends acknowledgements, and keeps them until the server confirms their arrival.
//!
//! The server reads a connection in order, so the answer to one request confirms every
//! acknowledgement that was sent before it. Unconfirmed acknowledgements are sent again on the next
//! connection, so that a lost connection does not repeat handled messages.

use super::{
    handle::SourceHandle,
    open_messages::{Ack, AckKind},
    recently_acked::RecentlyAcked,
};
use async_nats::{Client, Subject};
use buslane_core::{BoxFuture, shrunk_capacity};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

const ACK: Bytes = Bytes::from_static(b"+ACK");
const TERM: Bytes = Bytes::from_static(b"+TERM");
const NAK: Bytes = Bytes::from_static(b"-NAK");
pub(super) const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");
/// How long a negative acknowledgement waits for its neighbours, so that messages return in order.
/// The wait grows each time the message returns. It happens here and not at the server, because the
/// next reader must find the message at the server.
const GATHER: Duration = Duration::from_millis(20);
/// The pause after a request for confirmation without an answer.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

pub(super) struct AckQueue {
    /// The client of the current connection.
    pub(super) client: Arc<Client>,
    /// The largest number of deliveries of a message.
    max_deliver: Option<u32>,
    /// Sent and not confirmed. A lost negative acknowledgement does no harm, because the server
    /// delivers the message again in any case.
    unconfirmed: VecDeque<Ack>,
    /// The subject of the last acknowledgement after the last request for confirmation.
    last: Option<Subject>,
    /// The request for confirmation in flight, and the number of acknowledgements that it confirms.
    confirmation: Option<(BoxFuture<'static, bool>, usize)>,
    /// Waiting negative acknowledgements, by sequence.
    naks: BTreeMap<u64, Ack>,
    naks_due: Option<Instant>,
    /// Sequences of negatively acknowledged messages that have not arrived again.
    returned: HashSet<u64>,
    recent: RecentlyAcked,
    buffer: Vec<Ack>,
}

impl AckQueue {
    /// `recent` are the acknowledgements of the source's previous reader in this process.
    pub(super) fn new(
        client: Arc<Client>,
        max_deliver: Option<u32>,
        recent: RecentlyAcked,
    ) -> Self {
        Self {
            client,
            max_deliver,
            unconfirmed: VecDeque::new(),
            last: None,
            confirmation: None,
            naks: BTreeMap::new(),
            naks_due: None,
            returned: HashSet::new(),
            recent,
            buffer: Vec::new(),
        }
    }

    pub(super) fn into_recent(self) -> RecentlyAcked {
        self.recent
    }

    /// When the waiting negative acknowledgements are due.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.naks_due
    }

    /// Whether this process acknowledged the message: the acknowledgement is in flight, or a server
    /// that was restarted recently has forgotten it.
    pub(super) fn is_settled(&self, ack: &Ack, now: Instant) -> bool {
        let is_on_its_way = || self.unconfirmed.iter().any(|sent| sent.sequence == ack.sequence);
        (ack.deliveries > 1 && is_on_its_way()) || self.recent.contains(ack, now)
    }

    /// Records that the server is alive.
    pub(super) fn heard(&mut self, now: Instant) {
        self.recent.heard(now);
    }

    /// Records that a message has arrived.
    pub(super) fn arrived(&mut self, sequence: u64) {
        if !self.returned.is_empty() {
            self.returned.remove(&sequence);
        }
    }

    /// Whether this is the last delivery of the message.
    pub(super) fn is_last(&self, ack: &Ack) -> bool {
        self.max_deliver.is_some_and(|most| ack.deliveries >= most.into())
    }

    /// The number of negatively acknowledged messages that have not arrived again.
    pub(super) fn returned(&self) -> usize {
        self.returned.len()
    }

    /// Sends acknowledgements for messages settled since the last call, and the negative ones that
    /// are due.
    pub(super) async fn send(&mut self, handle: &SourceHandle, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        {
            let mut state = handle.state.lock();
            if state.open.has_settled() {
                state.open.take_settled(&mut buffer);
            }
        }
        let count = buffer.len();
        for ack in buffer.drain(..) {
            self.push(ack, now).await;
        }
        if count > 0 {
            buffer.shrink_to(shrunk_capacity(buffer.capacity(), count));
        }
        self.buffer = buffer;
        if self.naks_due.is_some_and(|due| due <= now) {
            self.send_naks().await;
        }
        self.request_confirmation();
    }

    /// Sends an acknowledgement; a negative one waits for [`Self::send_naks`].
    pub(super) async fn push(&mut self, ack: Ack, now: Instant) {
        match ack.kind {
            AckKind::Nak => {
                let again = u32::try_from(ack.deliveries.saturating_sub(1)).unwrap_or(u32::MAX);
                let due = now + GATHER.saturating_mul(1 << again.min(10)).min(LONGEST);
                self.naks_due = Some(self.naks_due.map_or(due, |before| before.max(due)));
                self.naks.insert(ack.sequence, ack);
            }
            AckKind::Ack | AckKind::Term => {
                self.last = Some(ack.reply.clone());
                self.publish(ack.reply.clone(), body(ack.kind)).await;
                self.recent.add(&ack, now);
                self.unconfirmed.push_back(ack);
            }
        }
    }

    /// Sends the waiting negative acknowledgements at once, in the order of their messages.
    pub(super) async fn send_naks(&mut self) {
        self.naks_due = None;
        for (_, ack) in std::mem::take(&mut self.naks) {
            self.last = Some(ack.reply.clone());
            if self.is_last(&ack) {
                let (sequence, deliveries) = (ack.sequence, ack.deliveries);
                tracing::error!(subject = %ack.reply, sequence, deliveries, "given back at its last delivery: it does not come again");
            } else {
                self.returned.insert(ack.sequence);
            }
            self.publish(ack.reply, NAK).await;
        }
    }

    /// Reports these messages to the server as in progress.
    pub(super) async fn report_in_progress(&mut self, subjects: Vec<Subject>) {
        for subject in subjects {
            self.publish(subject, IN_PROGRESS).await;
        }
    }

    /// Sends unconfirmed acknowledgements again, which the lost connection may have dropped.
    pub(super) async fn send_again(&mut self) {
        self.recent.connection_lost(Instant::now());
        self.confirmation = None;
        let unconfirmed: Vec<(Subject, Bytes)> =
            self.unconfirmed.iter().map(|ack| (ack.reply.clone(), body(ack.kind))).collect();
        for (reply, body) in unconfirmed {
            self.last = Some(reply.clone());
            self.publish(reply, body).await;
        }
        self.request_confirmation();
    }

    /// Forgets the acknowledgements for a consumer that was created again.
    pub(super) fn forget(&mut self) {
        self.unconfirmed.clear();
        self.returned.clear();
        (self.confirmation, self.last) = (None, None);
    }

    /// Requests a confirmation of the sent acknowledgements, unless a request is in flight.
    fn request_confirmation(&mut self) {
        if self.confirmation.is_some() {
            return;
        }
        let Some(subject) = self.last.take() else { return };
        let client = Arc::clone(&self.client);
        let confirmation = async move {
            let has_arrived = client.request(subject, IN_PROGRESS).await.is_ok();
            if !has_arrived {
                tokio::time::sleep(PAUSE).await;
            }
            has_arrived
        };
        self.confirmation = Some((Box::pin(confirmation), self.unconfirmed.len()));
    }

    /// Waits for the confirmation in flight, and returns whether it arrived. Waits forever when no
    /// request is in flight.
    ///
    /// # Cancel safety
    /// Cancelling loses nothing.
    pub(super) async fn confirmed(&mut self) -> bool {
        let Some((confirmation, count)) = &mut self.confirmation else {
            return std::future::pending().await;
        };
        let has_arrived = confirmation.await;
        let count = *count;
        self.confirmation = None;
        if has_arrived {
            let had = self.unconfirmed.len();
            self.unconfirmed.drain(..count);
            self.unconfirmed.shrink_to(shrunk_capacity(self.unconfirmed.capacity(), had));
        } else {
            self.last =
                self.last.take().or_else(|| self.unconfirmed.back().map(|ack| ack.reply.clone()));
        }
        self.request_confirmation();
        has_arrived
    }

    /// Waits until all acknowledgements are confirmed. Returns whether that happened within
    /// `timeout`.
    pub(super) async fn all_confirmed(&mut self, timeout: Duration) -> bool {
        let wait = async {
            self.request_confirmation();
            while self.confirmation.is_some() {
                self.confirmed().await;
            }
        };
        tokio::time::timeout(timeout, wait).await.is_ok()
    }

    async fn publish(&mut self, subject: Subject, body: Bytes) {
        if let Err(error) = self.client.publish(subject, body).await {
            tracing::debug!(%error, "an acknowledgement was not sent");
        }
    }
}

const fn body(kind: AckKind) -> Bytes {
    match kind {
        AckKind::Ack => ACK,
        AckKind::Term => TERM,
        AckKind::Nak => NAK,
    }
}
