//! The queue of one assigned partition.
//!
//! librdkafka fetches ahead of each queue up to a bound. An unread queue is therefore back-pressure
//! on its own partition alone; pausing the partition would discard what was fetched.

use super::message::FetchedMessage;
use crate::wake::Wake;
use rdkafka::{
    bindings as sys,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use std::{
    ffi::{CString, c_void},
    ptr::{self, NonNull},
    sync::Arc,
};

/// Messages that one call reads at most.
const BATCH: usize = 256;

pub(crate) struct PartitionQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// The callback of the queue points to it.
    _wake: Arc<Wake>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for PartitionQueue {}

extern "C" fn on_message(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: `wake` points to the `Wake` that `PartitionQueue` holds. `PartitionQueue` disables
    // the callback before it drops the `Wake`.
    let wake = unsafe { &*wake.cast_const().cast::<Wake>() };
    wake.wake();
}

impl PartitionQueue {
    /// Separates the queue of a partition from the consumer's own. Must be called before each
    /// assignment of the partition, and dropped before the consumer.
    pub(crate) fn new<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: i32,
        wake: &Arc<Wake>,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: client and name outlive the call.
        let queue = NonNull::new(unsafe {
            sys::rd_kafka_queue_get_partition(
                consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
            )
        })?;
        // SAFETY: the queue is alive, and the `Wake` outlives the callback: see `Drop`.
        unsafe {
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            let opaque = Arc::as_ptr(wake).cast::<c_void>().cast_mut();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_message), opaque);
        }
        Some(Self { queue, _wake: Arc::clone(wake) })
    }

    /// Appends up to `max` messages of the queue and returns how many. Does not wait.
    pub(crate) fn read(&self, max: usize, out: &mut Vec<FetchedMessage>) -> usize {
        let mut messages = [ptr::null_mut(); BATCH];
        let max = max.min(BATCH);
        // SAFETY: the array has room for `max` pointers, and the queue is alive.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), max)
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: librdkafka has filled in `count` messages, and hands them over.
        out.extend(
            messages[..count].iter().filter_map(|message| unsafe { FetchedMessage::new(*message) }),
        );
        count
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue lives until the second call. The first one waits for a callback that is
        // running: that holds the lock of the queue.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
