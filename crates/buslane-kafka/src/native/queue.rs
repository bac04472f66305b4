//! The queue of one assigned partition.
//!
//! librdkafka fetches ahead of each queue up to a bound and stops there, so not reading a queue is
//! back-pressure for its partition alone. Pausing would throw away what was fetched.

use super::Fetched;
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

/// Messages read by one call.
const BATCH: usize = 256;

pub(crate) struct PartitionQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// What the queue's callback points to.
    _wake: Arc<Wake>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for PartitionQueue {}

extern "C" fn on_message(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: `wake` is the `Wake` that the queue holds; the callback is switched off before that
    // is dropped.
    let wake = unsafe { &*wake.cast_const().cast::<Wake>() };
    wake.wake();
}

impl PartitionQueue {
    /// The queue of a partition, taken out of the consumer's own. Must be called before the
    /// partition is assigned, and again for each assignment; must be dropped before the consumer.
    pub(crate) fn new<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        topic: &str,
        partition: i32,
        wake: &Arc<Wake>,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client is alive, and the name ends with a zero byte.
        let queue = NonNull::new(unsafe {
            sys::rd_kafka_queue_get_partition(
                consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
            )
        })?;
        // SAFETY: the queue was just made. The `Wake` lives as long as the callback, see `Drop`.
        unsafe {
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            let opaque = Arc::as_ptr(wake).cast::<c_void>().cast_mut();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_message), opaque);
        }
        Some(Self { queue, _wake: Arc::clone(wake) })
    }

    /// Appends what lies in the queue, at most `max`, and returns how many; does not wait.
    pub(crate) fn read(&self, max: usize, out: &mut Vec<Fetched>) -> usize {
        let mut messages = [ptr::null_mut(); BATCH];
        let max = max.min(BATCH);
        // SAFETY: the array has room for `max` pointers, and the queue is alive.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), max)
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: librdkafka has filled in `count` messages, which are ours to destroy.
        out.extend(
            messages[..count].iter().filter_map(|message| unsafe { Fetched::new(*message) }),
        );
        count
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is alive until the second call. A callback that runs now holds the
        // queue's lock, so switching it off waits for that.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
