//! The publisher: many records in flight, each with a separate acknowledgement.
//!
//! Acknowledgements arrive at one inbox, and the last token of their subject is the ticket of the
//! record. When the connection is replaced before an acknowledgement arrives, the publisher sends
//! the record again. The server recognises the message id, and stores the record once.

mod failure;
mod tickets;

use crate::{
    config::PublisherConfig,
    link::Link,
    topics::{Known, Topics},
    wire,
};
use async_nats::{Client, Subject, client::PublishErrorKind};
use buslane_core::{
    BrokerError, PublishError, Receipt, Record, Topic, TopicStorage, Waits, broker::header,
    partition_for,
};
use failure::Failure;
use futures_util::StreamExt;
use std::{
    fmt::Write as _,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tickets::{Batch, BatchEvent, Stored, Tickets};
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

/// The pause between two checks for a new client after the task of one has ended.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Publisher {
    link: Arc<Link>,
    topics: Arc<Topics>,
    tickets: Arc<Tickets>,
    inbox: String,
    /// One permit for each record in flight.
    room: Semaphore,
    most: u32,
    waits: Arc<Waits>,
    publish_timeout: Duration,
    closed: CancellationToken,
    /// Spreads records without a key over partitions.
    round_robin: AtomicU32,
}

type PublishResults = Vec<Result<Receipt, PublishError>>;

impl Publisher {
    pub(crate) fn new(link: Arc<Link>, topics: Arc<Topics>, config: &PublisherConfig) -> Self {
        let inbox = link.client().new_inbox();
        Self {
            link,
            topics,
            tickets: Arc::new(Tickets::default()),
            inbox,
            room: Semaphore::new(config.max_in_flight as usize),
            most: config.max_in_flight,
            waits: Arc::new(Waits::new(config.publish_timeout)),
            publish_timeout: config.publish_timeout,
            closed: CancellationToken::new(),
            round_robin: AtomicU32::new(0),
        }
    }

    /// Subscribes to the acknowledgements. The returned future handles acknowledgements and
    /// timeouts until the publisher is closed.
    pub(crate) async fn listen(
        &self,
    ) -> Result<impl Future<Output = ()> + Send + use<>, BrokerError> {
        let (link, subject) = (Arc::clone(&self.link), format!("{}.*", self.inbox));
        let subscribed = link.client().subscribe(subject.clone()).await;
        let mut acks =
            subscribed.map_err(|error| BrokerError::Unreachable { reason: error.to_string() })?;
        let (tickets, closed, mut epoch) =
            (Arc::clone(&self.tickets), self.closed.clone(), self.link.epoch.clone());
        let waits = Arc::clone(&self.waits);
        epoch.mark_unchanged();
        Ok(async move {
            let _guard = link.panic_guard("the task that hears acknowledgements");
            let acknowledge = async {
                loop {
                    while let Some(message) = acks.next().await {
                        if let Some(ticket) = ticket(&message.subject) {
                            tickets.acknowledge(ticket, &message);
                        }
                    }
                    // The task of the client has ended. The link creates another client.
                    sleep(PAUSE).await;
                    if let Ok(again) = link.client().subscribe(subject.clone()).await {
                        acks = again;
                        tickets.reconnected();
                    }
                }
            };
            let watch = async {
                while epoch.changed().await.is_ok() {
                    tickets.reconnected();
                }
                std::future::pending().await
            };
            tokio::select! { biased; () = acknowledge => {}, () = watch => {}, () = waits.watch(sleep) => {}, () = closed.cancelled() => {} }
        })
    }

    /// Publishes records in order, and returns the result of each. After a drop of the future, the
    /// set of stored records is unknown.
    pub(crate) async fn publish(&self, topic: &Topic, records: Vec<Record>) -> PublishResults {
        if self.room.is_closed() {
            return vec![Err(PublishError::Closed); records.len()];
        }
        // Each call creates this future, so rare steps are boxed to keep it small.
        let known = match self.topics.known(topic) {
            Some(known) => known,
            None => match Box::pin(self.look_up(topic, &records)).await {
                Ok(known) => known,
                Err(error) => return vec![Err(error); records.len()],
            },
        };
        if known.stream.is_none() {
            return Box::pin(self.publish_ephemeral(topic, &known, records)).await;
        }
        let mut answers = self.publish_stored(topic, &known, &records).await;
        // A missing stream is looked up or created once.
        let gone =
            answers.iter().filter(|(_, answer)| matches!(answer, Err(Failure::NoStream))).count();
        if gone > 0 {
            self.topics.forget(topic);
        }
        if gone > 0 && gone == records.len() {
            match Box::pin(self.look_up(topic, &records)).await {
                Ok(known) => answers = Box::pin(self.publish_stored(topic, &known, &records)).await,
                Err(error) => return vec![Err(error); records.len()],
            }
        }
        let receipt = |partition, stored: Stored| Receipt {
            topic: topic.clone(),
            partition,
            offset: stored.sequence,
            duplicate: stored.is_duplicate,
        };
        let answer =
            |(record, (partition, answer)): (&Record, (u32, Result<Stored, Failure>))| match answer
            {
                Ok(stored) => Ok(receipt(partition, stored)),
                Err(failure) => Err(failure.explain(topic, record)),
            };
        records.iter().zip(answers).map(answer).collect()
    }

    /// Looks up the stream of a topic, and creates a missing one.
    async fn look_up(&self, topic: &Topic, records: &[Record]) -> Result<Known, PublishError> {
        // A dead letter gets the storage of its envelope, even if its event id is unreadable.
        let is_kept = |record: &Record| {
            wire::event_id(record).is_some() || record.headers.get(header::ORIGINAL_TOPIC).is_some()
        };
        let storage =
            if records.iter().any(is_kept) { TopicStorage::File } else { TopicStorage::Memory };
        let wait = self.topics.ensure(topic, storage);
        match tokio::time::timeout(self.publish_timeout, wait).await {
            Ok(Ok(known)) => Ok(known),
            Ok(Err(error)) => Err(failure::of_look_up(topic, error)),
            Err(_) => {
                Err(self.timed_out(topic, "the server has not said where the topic is stored"))
            }
        }
    }

    async fn publish_stored(
        &self,
        topic: &Topic,
        known: &Known,
        records: &[Record],
    ) -> Vec<(u32, Result<Stored, Failure>)> {
        let call = Call {
            tickets: &self.tickets,
            batch: Batch::new(records.iter().map(|record| self.partition(known, record))),
        };
        let end = match self.waits.within(self.send_all(&call.batch, topic, known, records)).await {
            Ok(()) => Failure::Closed,
            Err(_) => self.slow(),
        };
        self.tickets.settle(&call.batch, &end)
    }

    /// Returns when each record has its result, or the publisher is closed.
    async fn send_all(&self, batch: &Arc<Batch>, topic: &Topic, known: &Known, records: &[Record]) {
        // Sends a batch with more records than permits in parts.
        let most = self.most as usize;
        for from in (0..records.len()).step_by(most) {
            let to = records.len().min(from + most);
            let count = u32::try_from(to - from).unwrap_or(self.most);
            let Ok(_permits) = self.room.acquire_many(count).await else { return };
            self.tickets.issue(batch, from..to);
            self.send_open(batch, topic, known, records, from..to).await;
            while let BatchEvent::Reconnected = batch.wait(to).await {
                // The server may have missed any of these records, so they are sent again, in
                // order.
                Box::pin(self.send_open(batch, topic, known, records, from..to)).await;
            }
        }
    }

    async fn send_open(
        &self,
        batch: &Batch,
        topic: &Topic,
        known: &Known,
        records: &[Record],
        range: Range<usize>,
    ) {
        let mut client = self.link.client();
        loop {
            for at in range.clone() {
                if let Some((partition, ticket)) = batch.open(at) {
                    self.send(
                        &client,
                        topic,
                        known.subjects[partition].clone(),
                        ticket,
                        &records[at],
                    )
                    .await;
                }
            }
            // A replaced client may have sent none of the records.
            let before = std::mem::replace(&mut client, self.link.client());
            if Arc::ptr_eq(&before, &client) {
                return;
            }
        }
    }

    async fn send(
        &self,
        client: &Client,
        topic: &Topic,
        subject: Subject,
        ticket: u64,
        record: &Record,
    ) {
        let reply = reply(&self.inbox, ticket);
        let (headers, payload) = (wire::to_stream(record, topic, &reply), record.payload.clone());
        tokio::select! {
            biased;
            sent = client.publish_with_reply_and_headers(subject, reply, headers, payload) => match sent {
                Ok(()) => {}
                // The task of the client has ended. The record goes to the next client.
                Err(error) if error.kind() == PublishErrorKind::Send => {}
                Err(error) => self.tickets.answer(ticket, Err(self.unsent(&error))),
            },
            // Without a connection, the client blocks when its queue of commands is full.
            () = self.closed.cancelled() => {}
        }
    }

    /// Publishes to core NATS. A receipt only states that the server has read the record.
    async fn publish_ephemeral(
        &self,
        topic: &Topic,
        known: &Known,
        records: Vec<Record>,
    ) -> PublishResults {
        let mut client = self.link.client();
        let send = async {
            let mut answers = Vec::with_capacity(records.len());
            for record in &records {
                let sent = loop {
                    let (subject, headers) = (
                        known.subjects[0].clone(),
                        wire::to_nats(record, topic).unwrap_or_default(),
                    );
                    match client
                        .publish_with_headers(subject, headers, record.payload.clone())
                        .await
                    {
                        // The task of the client has ended. The link creates another client.
                        Err(error) if error.kind() == PublishErrorKind::Send => sleep(PAUSE).await,
                        sent => break sent,
                    }
                    client = self.link.client();
                };
                answers.push(match sent {
                    Ok(()) => Ok(Receipt {
                        topic: topic.clone(),
                        partition: 0,
                        offset: 0,
                        duplicate: false,
                    }),
                    Err(error) => Err(self.unsent(&error).explain(topic, record)),
                });
            }
            if let Err(error) = client.flush().await {
                return vec![
                    Err(PublishError::Unreachable { reason: error.to_string() });
                    records.len()
                ];
            }
            answers
        };
        match tokio::time::timeout(self.publish_timeout, send).await {
            Ok(answers) => answers,
            Err(_) => vec![Err(self.timed_out(topic, "the server does not answer")); records.len()],
        }
    }

    /// The partition of a record.
    fn partition(&self, known: &Known, record: &Record) -> u32 {
        match (known.partitions, &record.key) {
            (None, _) => 0,
            (Some(count), Some(key)) => partition_for(key, count),
            (Some(count), None) => self.round_robin.fetch_add(1, Ordering::Relaxed) % count,
        }
    }

    /// Why the client did not accept a record.
    fn unsent(&self, error: &async_nats::PublishError) -> Failure {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => {
                let most = self.link.client().server_info().max_payload;
                Failure::TooLarge(format!("max_payload of the server, {most} with headers"))
            }
            _ => Failure::Refused(error.to_string()),
        }
    }

    fn slow(&self) -> Failure {
        let detail = match self.link.client().connection_state() {
            async_nats::connection::State::Connected => "the server's acknowledgements",
            _ => "the connection",
        };
        Failure::Timeout(self.publish_timeout, detail)
    }

    fn timed_out(&self, topic: &Topic, detail: &str) -> PublishError {
        PublishError::Timeout {
            topic: topic.clone(),
            waited: self.publish_timeout,
            detail: detail.to_owned(),
        }
    }

    /// Waits for the acknowledgements of the records in flight, then accepts no more records.
    pub(crate) async fn close(&self, timeout: Duration) {
        let all = tokio::time::timeout(timeout, self.room.acquire_many(self.most)).await;
        if all.is_err() {
            tracing::warn!("records are not acknowledged at the close");
        }
        self.room.close();
        self.tickets.close();
        self.closed.cancel();
    }
}

/// A call to publish. Dropping the value early returns its tickets.
struct Call<'a> {
    tickets: &'a Tickets,
    batch: Arc<Batch>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        drop(self.tickets.settle(&self.batch, &Failure::Closed));
    }
}

/// The digits of a ticket in a reply subject. Their fixed number needs one allocation.
const DIGITS: usize = 16;

fn reply(inbox: &str, ticket: u64) -> String {
    let mut reply = String::with_capacity(inbox.len() + 1 + DIGITS);
    let _ = write!(reply, "{inbox}.{ticket:0DIGITS$x}");
    reply
}

fn ticket(reply: &str) -> Option<u64> {
    reply.rsplit_once('.').and_then(|(_, digits)| u64::from_str_radix(digits, 16).ok())
}
