//! Which partitions of a topic have acknowledged a record of this producer.
//!
//! Kafka takes any sequence number from a producer that a partition knows nothing of. So when the first batch of a
//! producer is refused because the partition has no leader yet, and the second, already on its way, is taken, the broker
//! calls the repeated first batch a duplicate, and librdkafka calls it delivered: the records are gone. Once a partition
//! has acknowledged something, a gap is refused, and a duplicate is one.

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Acked(Box<[AtomicBool]>);

impl Acked {
    pub(crate) fn new(partitions: u32) -> Self {
        Self((0..partitions).map(|_| AtomicBool::new(false)).collect())
    }

    pub(super) fn mark(&self, partition: u32) {
        if let Some(flag) = self.0.get(partition as usize)
            && !flag.load(Ordering::Relaxed)
        {
            flag.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn has(&self, partition: u32) -> bool {
        self.0.get(partition as usize).is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}
