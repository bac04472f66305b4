//! How far this member is behind, by what the client knows already: nobody is asked.

use super::{Owner, partition_number};
use crate::{consumer::context::Context, native};
use buslane_core::Lag;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

impl Owner {
    pub(in crate::consumer) fn lag(&mut self, client: &BaseConsumer<Context>) -> Vec<Lag> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut lags = Vec::new();
        for (generation, reading) in &mut self.readings {
            let place = &reading.place;
            let Some((start, end)) = native::watermarks(client.client(), &place.topic, partition_number(place)) else {
                continue;
            };
            // Nothing was committed, and nothing has come yet.
            let begin = if self.begins_at_end { end } else { start };
            let low = self.membership.low(*generation).unwrap_or(begin).max(start);
            let messages = end.saturating_sub(low);
            let (open, next) = self.membership.open(*generation).unwrap_or((0, begin));
            let published = if messages == 0 { None } else { reading.ages.at(low) };
            let published = published.and_then(|at| u64::try_from(at).ok()).map(Duration::from_millis);
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
