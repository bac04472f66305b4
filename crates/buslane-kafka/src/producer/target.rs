//! A topic that may be published to, and which of its partitions have acknowledged a record of this
//! producer.
//!
//! Kafka takes any sequence number from a producer that a partition knows nothing of. So when the
//! first batch of a producer is refused because the partition has no leader yet, and the second,
//! already on its way, is taken, the broker calls the repeated first batch a duplicate, and
//! librdkafka calls it delivered: the records are gone. Once a partition has acknowledged
//! something, a gap is refused, and a duplicate is one.

use buslane_core::Topic;
use std::{
    ffi::{CStr, CString},
    sync::atomic::{AtomicBool, Ordering},
};

pub(crate) struct Target {
    topic: Topic,
    /// As librdkafka takes it.
    name: CString,
    acked: Box<[AtomicBool]>,
}

impl Target {
    pub(crate) fn new(topic: Topic, partitions: u32) -> Self {
        let name = CString::new(topic.as_str()).expect("a topic name has no zero byte");
        Self { topic, name, acked: (0..partitions).map(|_| AtomicBool::new(false)).collect() }
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn name(&self) -> &CStr {
        &self.name
    }

    pub(super) fn mark_acked(&self, partition: u32) {
        if let Some(flag) = self.acked.get(partition as usize)
            && !flag.load(Ordering::Relaxed)
        {
            flag.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn has_acked(&self, partition: u32) -> bool {
        self.acked.get(partition as usize).is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}
