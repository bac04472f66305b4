//! Reads every partition that has room, and decides about each message that comes.

use super::{Owner, partition_number};
use crate::consumer::{
    context::Context,
    membership::{Arrival, Place},
};
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
        let (membership, fetched) = (&mut self.membership, &mut self.fetched);
        for (generation, reading) in &mut self.readings {
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
            while let Some(first) = reading.waiting.front() {
                match membership.arrived(*generation, first.offset()) {
                    Arrival::Wait => break,
                    Arrival::Skip => drop(reading.waiting.pop_front()),
                    Arrival::Run => reading.assignment.put(reading.waiting.pop_front().into_iter()),
                }
            }
            if !reading.waiting.is_empty() {
                continue;
            }
            let room = reading.assignment.room().min(membership.room(*generation));
            if room == 0 || queue.read(room, fetched) == 0 {
                continue;
            }
            has_read = true;
            let waiting = &mut reading.waiting;
            let arrived = fetched.drain(..).filter_map(|message| {
                if let Some(error) = message.error() {
                    report(&reading.place, error);
                    return None;
                }
                if !waiting.is_empty() {
                    waiting.push_back(message);
                    return None;
                }
                match membership.arrived(*generation, message.offset()) {
                    Arrival::Run => Some(message),
                    Arrival::Skip => None,
                    Arrival::Wait => {
                        waiting.push_back(message);
                        None
                    }
                }
            });
            if reading.settle_first {
                reading.staged.extend(arrived);
            } else {
                reading.assignment.put(arrived);
            }
            for message in &reading.staged {
                membership.settle_first(*generation, message.offset());
            }
        }
        if self.readings.values().any(|reading| !reading.staged.is_empty()) && !self.membership.is_committing() {
            let staged: Vec<_> =
                self.readings.iter().filter(|(_, reading)| !reading.staged.is_empty()).map(|(at, _)| *at).collect();
            let commits = self.membership.offers(&staged);
            self.send_commits(client, &commits);
        }
        has_read
    }
}

fn read_again(client: &BaseConsumer<Context>, place: &Place, from: u64) {
    let from = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
    if let Err(error) = client.seek(&place.topic, partition_number(place), from, Duration::ZERO) {
        warn!(topic = %place.topic, partition = place.partition, %error, "messages given back cannot be read again yet");
    }
}

fn report(place: &Place, error: RDKafkaErrorCode) {
    if error != RDKafkaErrorCode::PartitionEOF {
        warn!(topic = %place.topic, partition = place.partition, %error, "reading failed");
    }
}
