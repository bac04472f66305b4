//! Commits with answers: rdkafka's asynchronous commit returns none.

use super::client::millis;
use crate::wake::Wake;
use rdkafka::{
    TopicPartitionList, bindings as sys,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::RDKafkaErrorCode,
    types::RDKafkaRespErr,
};
use std::{
    ffi::{CStr, c_void},
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

/// Sends commits and receives their answers through a queue.
///
/// Must be dropped before the consumer.
pub(crate) struct Commits {
    queue: NonNull<sys::rd_kafka_queue_t>,
    _wake: Arc<Wake>,
}

// SAFETY: librdkafka's queues may be used from any thread, and `Wake` is `Send` and `Sync`.
unsafe impl Send for Commits {}

/// The broker's answer to one commit.
pub(crate) struct CommitAnswer {
    /// Why the whole commit failed.
    pub(crate) error: Option<RDKafkaErrorCode>,
    /// Each partition, with the reason why it was refused.
    pub(crate) partitions: Vec<(String, i32, Option<RDKafkaErrorCode>)>,
}

extern "C" fn on_answer(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: `wake` points to the `Wake` that `Commits` holds. `Commits` disables the callback
    // before it drops the `Wake`.
    let wake = unsafe { &*wake.cast_const().cast::<Wake>() };
    wake.wake();
}

impl Commits {
    pub(crate) fn new<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        wake: &Arc<Wake>,
    ) -> Option<Self> {
        // SAFETY: the client outlives this value and so the queue. The callback's pointer is valid
        // until `Drop` disables the callback, because `Self` holds the `Wake`.
        unsafe {
            let queue = NonNull::new(sys::rd_kafka_queue_new(consumer.client().native_ptr()))?;
            let opaque = Arc::as_ptr(wake).cast::<c_void>().cast_mut();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_answer), opaque);
            Some(Self { queue, _wake: Arc::clone(wake) })
        }
    }

    /// Sends a commit. [`Commits::answer`] returns its answer.
    pub(crate) fn send<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        offsets: &TopicPartitionList,
    ) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: client, list and queue outlive the call, which copies the list.
        let sent = unsafe {
            sys::rd_kafka_commit_queue(
                consumer.client().native_ptr(),
                offsets.ptr(),
                self.queue.as_ptr(),
                None,
                ptr::null_mut(),
            )
        };
        failure(sent).map_or(Ok(()), Err)
    }

    /// Waits for the next answer, at most for `timeout`.
    pub(crate) fn answer(&self, timeout: Duration) -> Option<CommitAnswer> {
        // SAFETY: the queue outlives the calls. The list, its names and its `cnt` elements live as
        // long as the event, which is destroyed once, after their last use.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.as_ptr(), millis(timeout));
            if event.is_null() {
                return None;
            }
            let error = sys::rd_kafka_event_error(event);
            let list = sys::rd_kafka_event_topic_partition_list(event);
            let mut partitions = Vec::new();
            if !list.is_null() {
                let count = usize::try_from((*list).cnt).unwrap_or(0);
                for element in slice::from_raw_parts((*list).elems, count) {
                    let topic = CStr::from_ptr(element.topic).to_string_lossy().into_owned();
                    partitions.push((topic, element.partition, failure(element.err)));
                }
            }
            sys::rd_kafka_event_destroy(event);
            Some(CommitAnswer { error: failure(error), partitions })
        }
    }
}

fn failure(error: RDKafkaRespErr) -> Option<RDKafkaErrorCode> {
    (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
}

impl Drop for Commits {
    fn drop(&mut self) {
        // SAFETY: the queue lives until the second call. The first call takes the queue's lock,
        // which a running callback holds, so no callback runs after it.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
