//! Carries out what operators ask for: answers their requests, and redrives or ends the first
//! message of each key, one after another.

use super::{Owner, ParkError, owner::Place, record, tail::PAUSE};
use crate::flow::{Flow, Subscribed, route};
use buslane_core::{Job, Message, Outcome, Record, Settle, Settlement, Topic, excerpt};
use buslane_parking::{Ending, Entry, Position, Work};
use bytes::Bytes;
use std::{collections::VecDeque, convert::Infallible, sync::Arc};
use tracing::{info, warn};

pub(super) async fn run(
    flow: &Flow,
    subscribed: &Arc<Subscribed>,
    owner: &Arc<Owner>,
) -> Infallible {
    let mut progress = owner.changes();
    let mut window = Window::default();
    loop {
        progress.borrow_and_update();
        while let Some(answer) = owner.answer() {
            told(owner, &answer);
            write(owner, &answer).await;
        }
        for (key, from, work) in owner.works() {
            let found = window.first(owner, &key, from).await;
            let Some((place, stored)) = found else { continue };
            owner.works_on(&key, place);
            let entry = match work {
                Work::Redrive => {
                    let job = redrive(flow, subscribed, owner, &key, place, stored).await;
                    // Refused by a pool that stops: dropped, which ends the work.
                    let _ = flow.pool.submit(&mut VecDeque::from([job])).await;
                    continue;
                }
                Work::Skip { origin } if origin != place.origin => owner.not_first(&key),
                Work::Skip { .. } => owner.end(&key, place.origin, Ending::Skipped),
                Work::Discard { .. } => {
                    publish_letter(flow, owner, &stored).await;
                    owner.end(&key, place.origin, Ending::Discarded)
                }
            };
            if let Some(entry) = entry {
                write(owner, &entry).await;
            }
        }
        let _ = progress.changed().await;
    }
}

/// The first parked message of a key, as its source has delivered it.
pub(crate) async fn first_of(owner: &Owner, key: &Bytes) -> Option<Message> {
    let from = owner.from(key)?;
    let (place, stored) = Window::default().first(owner, key, from).await?;
    Some(record::message(&stored, owner.source(), place.origin))
}

/// Publishes a discarded message to the dead letters, in the form in which it was parked: with the
/// headers of a dead letter.
async fn publish_letter(flow: &Flow, owner: &Owner, stored: &Message) {
    let Ok(letters) = Topic::new(&format!("{}.dlq", owner.source().topic)) else { return };
    loop {
        let letter = vec![Record::from(stored)];
        match flow.services.broker.publish(&letters, letter).get().await.pop() {
            Some(Ok(_)) | None => return,
            Some(Err(error)) => {
                let error = excerpt::error(&error);
                warn!(source = %owner.source(), %letters, %error, "discarded message not written");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Writes an entry until the log has taken it, or the partition is given up.
async fn write(owner: &Owner, entry: &Entry) {
    while let Err(ParkError::Refused(error)) = owner.write(entry, None, None).await {
        let error = excerpt::error(&error);
        warn!(source = %owner.source(), %error, "parking log not written");
        tokio::time::sleep(PAUSE).await;
    }
}

fn told(owner: &Owner, answer: &Entry) {
    if let Entry::Answer { key, request, answer, .. } = answer {
        let key = excerpt::key(key);
        info!(source = %owner.source(), %key, request, answer = answer.word(), "request answered");
    }
}

/// The job of a parked message.
async fn redrive(
    flow: &Flow,
    subscribed: &Arc<Subscribed>,
    owner: &Arc<Owner>,
    key: &Bytes,
    place: Place,
    stored: Message,
) -> Job {
    let mut message = record::message(&stored, owner.source(), place.origin);
    if let Some(request) = owner.edit(key, place.origin) {
        message.payload = body_of(owner, request).await;
        message.is_null = false;
    }
    let (lane, parsed) = route(&flow.routing, subscribed, true, &mut message);
    let ended = Ended { owner: Arc::clone(owner), key: key.clone(), origin: place.origin };
    let mut job = Job::new(lane, message, Settlement::new(Arc::new(ended), 0));
    job.handler = Some(subscribed.handler.for_batch());
    job.parsed = parsed.map(Box::new);
    job
}

/// The body of the record at a position.
async fn body_of(owner: &Owner, position: Position) -> Bytes {
    let (mut reader, mut stored) = (owner.log.read(position), Vec::new());
    while let Err(error) = reader.next(1, &mut stored).await {
        let error = excerpt::error(&error);
        warn!(source = %owner.source(), %error, "parking log not read");
        tokio::time::sleep(PAUSE).await;
    }
    stored.pop().map(|message| message.payload).unwrap_or_default()
}

/// Receives the end of a redriven message, also of one that was dropped.
struct Ended {
    owner: Arc<Owner>,
    key: Bytes,
    origin: u64,
}

impl Settle for Ended {
    fn settle(&self, _: u64, _: Outcome) {
        self.owner.worked(&self.key, self.origin);
    }
}

/// The records that were looked at last: keys are redriven beside each other, so the next message
/// of each is near.
#[derive(Default)]
struct Window {
    records: VecDeque<(Message, Option<Entry>)>,
    /// The position after the last one.
    next: Position,
    reader: Option<Box<dyn buslane_core::broker::LogReader>>,
}

const WINDOW: usize = 4096;

impl Window {
    /// The first parked message of a key, which lies at `from` or above. `None` when the state has
    /// changed meanwhile.
    async fn first(
        &mut self,
        owner: &Owner,
        key: &Bytes,
        from: Position,
    ) -> Option<(Place, Message)> {
        let begin = self.records.front().map(|(first, _)| first.offset);
        if self.reader.is_none() || begin.is_none_or(|begin| from < begin) || from > self.next {
            *self = Self { next: from, reader: Some(owner.log.read(from)), ..Self::default() };
        }
        let mut at = self.records.partition_point(|(message, _)| message.offset < from);
        loop {
            while let Some((message, entry)) = self.records.get(at) {
                let of_key = entry.as_ref().filter(|entry| entry.key() == Some(key));
                let position = message.offset;
                if let Some(origin) = of_key.and_then(|entry| owner.first(position, entry)) {
                    return Some((Place { position, origin }, message.clone()));
                }
                at += 1;
            }
            if self.next >= owner.read_to() {
                return None;
            }
            let dropped = self.read_on(owner).await;
            at = at.saturating_sub(dropped);
        }
    }

    /// Reads further records, and returns how many of the oldest make room for them.
    async fn read_on(&mut self, owner: &Owner) -> usize {
        let Some(reader) = &mut self.reader else { return 0 };
        let mut stored = Vec::new();
        if let Err(error) = reader.next(256, &mut stored).await {
            let error = excerpt::error(&error);
            warn!(source = %owner.source(), %error, "parking log not read");
            tokio::time::sleep(PAUSE).await;
        }
        for message in stored {
            self.next = message.offset + 1;
            let entry = Entry::read(message.key.as_ref(), &message.headers).ok();
            self.records.push_back((message, entry));
        }
        let dropped = self.records.len().saturating_sub(WINDOW);
        self.records.drain(..dropped);
        dropped
    }
}
