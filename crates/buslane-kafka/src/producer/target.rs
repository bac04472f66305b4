//! A topic to publish to, and which of its partitions have acknowledged a record of this producer.
//!
//! Kafka accepts any sequence number from a producer that is new to a partition. Suppose that a
//! partition has no leader yet and refuses the producer's first batch, but accepts the second one,
//! which was in flight: the broker then takes the repeated first batch for a duplicate, librdkafka
//! reports it as delivered, and its records are lost. After an acknowledged record the broker
//! refuses gaps, and a duplicate really is one.

use buslane_core::Topic;
use std::{
    ffi::{CStr, CString},
    sync::atomic::{AtomicBool, Ordering},
};

pub(crate) struct Target {
    topic: Topic,
    /// The name as librdkafka takes it.
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
