//! Searches the stream for messages whose headers the client library cannot read.
//!
//! The library ends its connection, or its own task, at each delivery of such a message, and gives
//! no reason. After a lost connection, a reader therefore reads delivered messages that are not
//! open here from the stream, before it requests any. It holds found messages at the server, so
//! that the server delivers them to no reader.

use super::delivery::forge;
use crate::{
    consumers::DurableConsumer,
    link::{Epoch, Link},
    names,
    stored::{self, StoredMessage},
};
use async_nats::jetstream::consumer::Info;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// A connection that ends by itself is replaced by a lasting one. A connection that ends at a
/// message ends again when the server delivers the message again, which happens within `ack_wait`.
const SAME_CAUSE: Duration = Duration::from_secs(120);
/// The number of sequences that are read after a single loss.
const SHALLOW: u64 = 1_024;
/// The number of sequences that are read when a message is the likely cause.
const DEEP: u64 = 65_536;
/// The number of requests in flight.
const CONCURRENCY: usize = 32;

/// The server's report of a negatively acknowledged message.
#[derive(Deserialize)]
struct NakAdvisory {
    stream_seq: u64,
}

/// A reader's knowledge of messages that it cannot read. Pure: [`read`] and [`hold`] send the
/// requests.
#[derive(Default)]
pub(super) struct UnreadableSearch {
    /// The last connection that the reader has seen.
    epoch: Option<Epoch>,
    lost_at: Option<Instant>,
    /// The number of sequences that one search reads; 0 before the first loss.
    depth: u64,
    /// Every sequence below this one was read.
    read_below: u64,
    /// Sequences of found messages, which may have been returned to the server.
    found: BTreeSet<u64>,
    /// Whether readable messages are taken too.
    takes_readable: bool,
    /// Why the last search failed.
    failure: Option<String>,
}

impl UnreadableSearch {
    /// Begins on this connection. A connection that replaces another one was a loss.
    pub(super) fn begin(&mut self, epoch: Epoch, now: Instant) {
        self.takes_readable = false;
        let before = self.epoch.replace(epoch);
        let lost = epoch.number - before.map_or(0, |before| before.number);
        if lost == 0 {
            return;
        }
        let is_again = self
            .lost_at
            .replace(now)
            .is_some_and(|before| now.saturating_duration_since(before) < SAME_CAUSE);
        let is_many = before.is_some() && lost > 1;
        self.depth = if epoch.client_ended || is_again || is_many { DEEP } else { SHALLOW };
    }

    /// The sequences that the next search reads, and the end of their older half. They always
    /// include the newest ones; each search reads the next part of the older ones.
    pub(super) fn range(&mut self, info: &Info) -> (BTreeSet<u64>, u64) {
        let (first, last) = (info.ack_floor.stream_sequence + 1, info.delivered.stream_sequence);
        self.found = self.found.split_off(&first);
        let half = self.depth / 2;
        if half == 0 {
            return (BTreeSet::new(), 0);
        }
        let newest = (last + 1).saturating_sub(half).max(first);
        let oldest = self.read_below.max(first);
        let end = newest.min(oldest.saturating_add(half));
        let sequences = (oldest..end).chain(newest..=last).chain(self.found.iter().copied());
        (sequences.collect(), end)
    }

    /// Records a search that has read every sequence below `end` and has taken these messages.
    pub(super) fn finish(&mut self, end: u64, taken: impl IntoIterator<Item = u64>) {
        self.read_below = self.read_below.max(end);
        self.found.extend(taken);
        self.failure = None;
    }

    /// Records a failed search. Returns the reason unless the last search failed for the same one.
    pub(super) fn fail(&mut self, reason: String) -> Option<&str> {
        let is_new = self.failure.as_ref() != Some(&reason);
        let reason = self.failure.insert(reason);
        is_new.then_some(reason)
    }

    /// Why the last search failed.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// After a lost connection, takes readable messages too until the reader begins again.
    pub(super) const fn take_readable(&mut self) {
        self.takes_readable |= self.depth > 0;
    }

    pub(super) const fn takes_readable(&self) -> bool {
        self.takes_readable
    }
}

/// Reads messages of the consumer from its stream: those that the client library cannot read, and
/// also the others if `with_readable` is set.
pub(super) async fn read(
    link: &Link,
    consumer: &DurableConsumer,
    sequences: &[u64],
    with_readable: bool,
) -> Result<Vec<StoredMessage>, String> {
    let message =
        |sequence: &u64| stored::message(link, &consumer.stream, *sequence, with_readable);
    let found: Vec<Option<StoredMessage>> =
        stream::iter(sequences.iter().map(message)).buffered(CONCURRENCY).try_collect().await?;
    let subject = names::subject(&consumer.topic, consumer.partition);
    // The stream also holds other topics and other partitions.
    let is_own = |message: &StoredMessage| {
        let more = message.subject.strip_prefix(&subject);
        more.is_some_and(|more| {
            more.is_empty() || (consumer.partition.is_some() && more.starts_with('.'))
        })
    };
    Ok(found.into_iter().flatten().filter(is_own).collect())
}

/// Negatively acknowledges messages with a delay, so that the server delivers none of them for a
/// while. Returns the open ones, which the server reports before it confirms.
pub(super) async fn hold(
    link: &Link,
    consumer: &DurableConsumer,
    found: &[StoredMessage],
    delivery: u64,
) -> Result<BTreeSet<u64>, String> {
    let client = link.client();
    let advisories = advisories(consumer);
    let mut given_back =
        client.subscribe(advisories.clone()).await.map_err(|error| error.to_string())?;
    let delay = consumer.settings.ack_timeouts().1.as_nanos();
    let nak = Bytes::from(format!(r#"-NAK {{"delay":{delay}}}"#));
    let give_back = |message: &StoredMessage| {
        let subject = forge(&consumer.stream, &consumer.durable, message.sequence, delivery);
        client.request(subject, nak.clone())
    };
    let confirmed =
        stream::iter(found.iter().map(give_back)).buffered(CONCURRENCY).try_collect::<Vec<_>>();
    confirmed.await.map_err(|error| error.to_string())?;
    if link.denies_subscription(&advisories) {
        let unreadable = found.iter().filter(|message| message.headers.is_err());
        return Ok(unreadable.map(|message| message.sequence).collect());
    }
    let mut open = BTreeSet::new();
    while let Some(Some(message)) = tokio::task::unconstrained(given_back.next()).now_or_never() {
        let advisory = serde_json::from_slice(&message.payload);
        open.extend(advisory.map(|NakAdvisory { stream_seq }| stream_seq));
    }
    Ok(open)
}

/// The subject at which the server reports negative acknowledgements of the consumer.
fn advisories(consumer: &DurableConsumer) -> String {
    let DurableConsumer { stream, durable, .. } = consumer;
    format!("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.{stream}.{durable}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_a_loss_that_comes_again_is_searched_deeper() {
        let (mut search, start) = (UnreadableSearch::default(), Instant::now());
        let mut after = |seconds: u64, number, client_ended| {
            search.begin(Epoch { number, client_ended }, start + Duration::from_secs(seconds));
            search.depth
        };
        assert_eq!([after(0, 0, false), after(1, 1, false)], [0, SHALLOW]);
        assert_eq!(after(2, 1, false), SHALLOW, "the same connection");
        assert_eq!([after(30, 2, false), after(300, 3, false)], [DEEP, SHALLOW]);
        assert_eq!([after(600, 4, true), after(900, 5, false)], [DEEP, SHALLOW]);
        assert_eq!(after(1_500, 7, false), DEEP, "two losses at once");
        search = UnreadableSearch::default();
        search.begin(Epoch { number: 9, client_ended: false }, start);
        assert_eq!(search.depth, SHALLOW, "a reader that begins after losses");
    }
}
