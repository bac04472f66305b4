//! Reads every partition that has room, and decides about each message that comes.

use super::{Owner, Reading, partition_number};
use crate::{
    consumer::{
        context::Context,
        membership::{Arrival, Membership, Place},
    },
    native::FetchedMessage,
};
use buslane_core::room_after;
use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};
use std::time::{Duration, Instant};
use tracing::warn;

impl Owner {
    pub(super) fn read(&mut self, client: &BaseConsumer<Context>, now: Instant) -> bool {
        let mut has_read = false;
        let Self { membership, fetched, copier, readings, .. } = self;
        for (generation, reading) in readings {
            let Some(queue) = &reading.queue else { continue };
            if let Some((from, at)) = reading.reread
                && now >= at
            {
                reading.reread = None;
                read_again(client, &reading.place, from);
            }
            if !reading.staged.is_empty() {
                continue;
            }
            if reading.waiting.is_empty() {
                let room = reading.assignment.room().min(membership.room(*generation));
                if room == 0 || queue.read(room, fetched) == 0 {
                    continue;
                }
                has_read = true;
                let (place, source) = (&reading.place, &reading.assignment.source);
                let messages = fetched.drain(..).filter(|message| is_message(place, message));
                reading.waiting.extend(messages.map(|message| copier.message(source, &message)));
                reading
                    .waiting
                    .shrink_to(room_after(reading.waiting.capacity(), reading.waiting.len()));
                if let Some(first) = reading.waiting.front() {
                    reading.ages.add(first.offset, first.timestamp_ms);
                }
            }
            reading.hand_out(*generation, membership);
        }
        if self.readings.values().any(|reading| !reading.staged.is_empty())
            && !self.membership.is_committing()
        {
            let staged: Vec<_> = self
                .readings
                .iter()
                .filter(|(_, reading)| !reading.staged.is_empty())
                .map(|(at, _)| *at)
                .collect();
            let commits = self.membership.offers(&staged);
            self.send_commits(client, &commits);
        }
        has_read
    }
}

impl Reading {
    /// Hands out what came, as far as there is room for it in the tracker.
    fn hand_out(&mut self, generation: u64, membership: &mut Membership) {
        let Self { waiting, staged, assignment, settle_first, .. } = self;
        let runs = std::iter::from_fn(|| {
            loop {
                match membership.arrived(generation, waiting.front()?.offset) {
                    Arrival::Wait => return None,
                    Arrival::Skip => drop(waiting.pop_front()),
                    Arrival::Run => return waiting.pop_front(),
                }
            }
        });
        if !*settle_first {
            assignment.put(runs);
            return;
        }
        staged.extend(runs);
        for message in staged {
            membership.settle_first(generation, message.offset);
        }
    }
}

fn read_again(client: &BaseConsumer<Context>, place: &Place, from: u64) {
    let from = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
    if let Err(error) = client.seek(&place.topic, partition_number(place), from, Duration::ZERO) {
        warn!(topic = %place.topic, partition = place.partition, %error, "messages given back cannot be read again yet");
    }
}

fn is_message(place: &Place, fetched: &FetchedMessage) -> bool {
    let error = fetched.error();
    if let Some(error) = error.filter(|error| *error != RDKafkaErrorCode::PartitionEOF) {
        warn!(topic = %place.topic, partition = place.partition, %error, "reading failed");
    }
    error.is_none()
}
