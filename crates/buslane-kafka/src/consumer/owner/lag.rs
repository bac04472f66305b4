//! How far this member is behind, by what the client knows already: nobody is asked.

use super::{Owner, Place, Reading, partition_number};
use crate::{consumer::context::Context, native};
use buslane_core::{Lag, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where this member stands in a partition of which it knows something.
pub(crate) struct Standing {
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
    /// The lowest offset that is not settled.
    pub(crate) low: u64,
    /// Offsets below `next` that are not settled.
    pub(crate) open: u64,
    pub(crate) next: u64,
}

impl Owner {
    /// Where this member stands, every settlement so far counted.
    pub(in crate::consumer) fn standings(&mut self) -> Vec<Standing> {
        self.collect_settlements(Instant::now());
        let standing = |(generation, reading): (&u64, &Reading)| {
            let (low, (open, next)) =
                (self.membership.low(*generation)?, self.membership.open(*generation)?);
            let Place { topic, partition } = reading.place.clone();
            Some(Standing { topic, partition, low, open, next })
        };
        self.readings.iter().filter_map(standing).collect()
    }

    pub(in crate::consumer) fn lag(&mut self, client: &BaseConsumer<Context>) -> Vec<Lag> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut lags = Vec::new();
        for (generation, reading) in &mut self.readings {
            let place = &reading.place;
            let Some((start, end)) =
                native::watermarks(client.client(), &place.topic, partition_number(place))
            else {
                continue;
            };
            // Nothing was committed, and nothing has come yet.
            let begin = if self.begins_at_end { end } else { start };
            let low = self.membership.low(*generation).unwrap_or(begin).max(start);
            let messages = end.saturating_sub(low);
            let (open, next) = self.membership.open(*generation).unwrap_or((0, begin));
            let published = if messages == 0 { None } else { reading.ages.at(low) };
            let published =
                published.and_then(|at| u64::try_from(at).ok()).map(Duration::from_millis);
            lags.push(Lag {
                topic: place.topic.clone(),
                partition: place.partition,
                messages,
                open: messages.min(open + end.saturating_sub(next.max(start))),
                // The end may be a marker of a transaction, which is never handed out.
                unread: None,
                age: published.map(|published| now.saturating_sub(published)),
            });
        }
        lags
    }
}
