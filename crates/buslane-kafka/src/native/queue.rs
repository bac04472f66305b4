//! The queue of one assigned partition, and the messages that are read from it.
//!
//! librdkafka fetches ahead of each queue up to a bound. An unread queue is therefore back-pressure
//! on its own partition alone; pausing the partition would discard the fetched messages.

use crate::wake::Wake;
use buslane_core::{Headers, HeadersBuilder};
use bytes::BytesMut;
use rdkafka::{
    bindings as sys,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::RDKafkaErrorCode,
    types::RDKafkaRespErr,
};
use std::{
    borrow::Cow,
    ffi::{CStr, CString, c_void},
    ptr::{self, NonNull},
    slice,
    sync::Arc,
};

/// The largest number of messages that one call reads.
const BATCH: usize = 256;

pub(crate) struct PartitionQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// The target of the pointer in the queue's callback.
    _wake: Arc<Wake>,
}

// SAFETY: librdkafka's queues may be used from any thread, and `Wake` is `Send` and `Sync`.
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
        // SAFETY: client and name outlive the call, which returns a handle or null.
        let queue = NonNull::new(unsafe {
            sys::rd_kafka_queue_get_partition(
                consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
            )
        })?;
        // SAFETY: the queue is alive. The callback's pointer is valid until `Drop` disables the
        // callback, because `Self` holds the `Wake`.
        unsafe {
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            let opaque = Arc::as_ptr(wake).cast::<c_void>().cast_mut();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_message), opaque);
        }
        Some(Self { queue, _wake: Arc::clone(wake) })
    }

    /// Appends up to `max` messages of the queue to `out`, and returns their number. Does not wait.
    pub(crate) fn read(&self, max: usize, out: &mut Vec<FetchedMessage>) -> usize {
        let mut messages = [ptr::null_mut(); BATCH];
        let max = max.min(BATCH);
        // SAFETY: the array has room for `max` pointers, and the queue is alive.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), max)
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: librdkafka has filled in `count` messages, which the caller has to destroy.
        out.extend(
            messages[..count].iter().filter_map(|message| unsafe { FetchedMessage::new(*message) }),
        );
        count
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue lives until the second call. The first call takes the queue's lock,
        // which a running callback holds, so no callback runs after it.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// A message, or an error in place of one, in librdkafka's memory. It keeps the broker's whole
/// answer alive, so copy the message and drop it soon.
///
/// Must be dropped before its client.
pub(crate) struct FetchedMessage(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message has one owner, and librdkafka counts references to its parts atomically.
unsafe impl Send for FetchedMessage {}

impl FetchedMessage {
    /// # Safety
    /// `message` is null, or a message that nothing else destroys.
    pub(super) unsafe fn new(message: *mut sys::rd_kafka_message_t) -> Option<Self> {
        NonNull::new(message).map(Self)
    }

    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message lives until `Drop`, and nothing writes to it until then.
        unsafe { self.0.as_ref() }
    }

    /// The error in place of a message.
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    pub(crate) fn offset(&self) -> u64 {
        u64::try_from(self.raw().offset).unwrap_or(0)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: the key has `key_len` bytes and lives as long as the message.
        (!raw.key.is_null()).then(|| unsafe { bytes(raw.key.cast(), raw.key_len) })
    }

    pub(crate) fn payload(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: the payload is null or has `len` bytes, and lives as long as the message.
        unsafe { bytes(raw.payload.cast(), raw.len) }
    }

    /// Whether the payload is null, which is not the same as empty.
    pub(crate) fn is_null(&self) -> bool {
        self.raw().payload.is_null()
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn timestamp_ms(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) }
    }

    /// Copies the headers into the front of `arena`, and returns the rest of the arena.
    pub(crate) fn headers(&self, arena: BytesMut) -> (Headers, BytesMut) {
        let mut list = ptr::null_mut();
        // SAFETY: the message is alive and owns the list.
        let answer = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut list) };
        if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return (Headers::new(), arena);
        }
        let mut headers = Headers::builder_in(arena);
        for index in 0.. {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list lives as long as the message. An index past its end returns an
            // error.
            let answer = unsafe {
                sys::rd_kafka_header_get_all(
                    list,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut len,
                )
            };
            if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            // SAFETY: the name ends with a zero byte, the value has that length, and both live as
            // long as the message.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value.cast(), len)) };
            push(&mut headers, name, value);
        }
        headers.build_and_return()
    }
}

pub(crate) fn push(headers: &mut HeadersBuilder, name: &CStr, value: &[u8]) {
    // `to_str` alone is much cheaper than `to_string_lossy`.
    let name = name.to_str().map_or_else(|_| name.to_string_lossy(), Cow::Borrowed);
    if name.len() > usize::from(u16::MAX) {
        tracing::warn!(bytes = name.len(), "header left out: its name is too long");
        return;
    }
    headers.push(&name, value);
}

/// # Safety
/// `start` is null, or points to `len` bytes that live as long as the result.
unsafe fn bytes<'a>(start: *const u8, len: usize) -> &'a [u8] {
    // SAFETY: the start is not null, and the caller guarantees `len` bytes that live long enough.
    if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
}

impl Drop for FetchedMessage {
    fn drop(&mut self) {
        // SAFETY: this value owns the message, and nothing uses it afterwards.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}
