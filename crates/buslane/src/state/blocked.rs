//! The blocked keys of a bus: a bounded list of names. Their messages wait in their lanes.
//!
//! An entry belongs to the first message of its key. It ends when that message is handled or given
//! up, and with the partition, the subscription or the bus. A message that changes pools keeps its
//! entry.

use buslane_core::{Message, Source, Topic, excerpt};
use metrics::Gauge;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use time::OffsetDateTime;

/// Entries with a name. Further blocked keys are only counted.
const LIMIT: usize = 1_000;

/// A key that is out of attempts: its first message is retried at the longest backoff, and its
/// other messages wait behind that one.
///
/// [`Status::blocked`](crate::Status::blocked) lists up to 1,000 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedKey {
    /// The key, escaped and cut: see [`excerpt`]. `rr-N` for a message without one.
    pub key: String,
    /// Topic of its first message.
    pub topic: Topic,
    /// Partition of its first message.
    pub partition: u32,
    /// Offset, or sequence, of its first message.
    pub offset: u64,
    /// Attempts of that message so far.
    pub attempts: u32,
    /// When it became blocked.
    pub since: OffsetDateTime,
    /// The last error, escaped and cut.
    pub error: String,
}

/// The blocked keys of a bus.
pub(crate) struct BlockedKeys {
    table: Mutex<Table>,
    gauge: Gauge,
}

#[derive(Default)]
struct Table {
    /// In the order in which the keys became blocked.
    named: BTreeMap<u64, Known>,
    next: u64,
    /// All blocked keys, also those without a name.
    count: usize,
}

struct Known {
    source: Arc<Source>,
    offset: u64,
    key: String,
    attempts: u32,
    since: OffsetDateTime,
    began: Instant,
    error: String,
}

/// The blocked keys of a bus at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BlockedSnapshot {
    /// The keys blocked longest, in that order, with the time when each became blocked.
    pub(crate) named: Vec<(BlockedKey, Instant)>,
    /// All blocked keys.
    pub(crate) count: usize,
}

impl BlockedKeys {
    pub(crate) fn new(gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), gauge })
    }

    /// The number of blocked keys, and up to `most` of them by name.
    pub(crate) fn snapshot(&self, most: usize) -> BlockedSnapshot {
        let table = self.table.lock();
        let named =
            table.named.values().take(most).map(|known| (known.blocked(), known.began)).collect();
        BlockedSnapshot { named, count: table.count }
    }

    /// The blocked keys that have a name.
    pub(crate) fn all(&self) -> Vec<BlockedKey> {
        self.table.lock().named.values().map(Known::blocked).collect()
    }

    /// The number of blocked keys.
    pub(crate) fn count(&self) -> usize {
        self.table.lock().count
    }
}

impl Known {
    fn blocked(&self) -> BlockedKey {
        BlockedKey {
            key: self.key.clone(),
            topic: self.source.topic.clone(),
            partition: self.source.partition,
            offset: self.offset,
            attempts: self.attempts,
            since: self.since,
            error: self.error.clone(),
        }
    }
}

/// The entry of one blocked key.
///
/// # Drop behaviour
/// The key is no longer blocked.
pub(crate) struct BlockedEntry {
    keys: Arc<BlockedKeys>,
    number: u64,
    since: OffsetDateTime,
    began: Instant,
}

impl BlockedEntry {
    /// Counts one more blocked key, until the entry is dropped.
    pub(crate) fn new(keys: &Arc<BlockedKeys>) -> Self {
        let number = {
            let mut table = keys.table.lock();
            table.count += 1;
            table.next += 1;
            table.next
        };
        keys.gauge.increment(1);
        Self {
            keys: Arc::clone(keys),
            number,
            since: OffsetDateTime::now_utc(),
            began: crate::process::now(),
        }
    }

    /// Notes the last attempt. The entry gets its name here, once the list has room.
    pub(crate) fn note(&self, message: &Message, attempts: u32, error: &str) {
        let error = excerpt::error(error).to_string();
        let mut table = self.keys.table.lock();
        if let Some(known) = table.named.get_mut(&self.number) {
            (known.attempts, known.error) = (attempts, error);
        } else if table.named.len() < LIMIT {
            let known = Known {
                source: Arc::clone(&message.source),
                offset: message.offset,
                key: message.label_excerpt().to_string(),
                attempts,
                since: self.since,
                began: self.began,
                error,
            };
            table.named.insert(self.number, known);
        }
    }
}

impl Drop for BlockedEntry {
    fn drop(&mut self) {
        {
            let mut table = self.keys.table.lock();
            table.named.remove(&self.number);
            table.count -= 1;
        }
        self.keys.gauge.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(offset: u64) -> Message {
        let mut message = Message::new(Topic::new("orders").unwrap(), "x");
        message.offset = offset;
        message
    }

    #[test]
    fn o3_blocked_keys_have_a_name_up_to_a_number_and_are_counted_beyond() {
        let keys = BlockedKeys::new(Gauge::noop());
        let mut entries: Vec<_> = (0..LIMIT as u64 + 2)
            .map(|offset| {
                let entry = BlockedEntry::new(&keys);
                entry.note(&message(offset), 5, "no\nERROR forged");
                (entry, offset)
            })
            .collect();
        assert_eq!((keys.count(), keys.all().len()), (LIMIT + 2, LIMIT));
        let first = keys.snapshot(1);
        assert_eq!((first.named.len(), first.count), (1, LIMIT + 2));
        assert_eq!((first.named[0].0.offset, &*first.named[0].0.error), (0, "no\\nERROR forged"));

        // The end of an entry makes room for the next noted one. The order stays that of the
        // beginning.
        entries.remove(0);
        let (last, offset) = entries.last().unwrap();
        last.note(&message(*offset), 6, "no");
        let named = keys.all();
        assert_eq!(
            (named.len(), named[0].offset, named[LIMIT - 1].offset),
            (LIMIT, 1, LIMIT as u64 + 1)
        );
        entries[0].0.note(&message(1), 7, "still no");
        assert_eq!((keys.all()[0].attempts, &*keys.all()[0].error), (7, "still no"));
        entries.clear();
        assert_eq!(keys.snapshot(LIMIT), BlockedSnapshot::default());
    }
}
