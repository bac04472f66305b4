//! A message in librdkafka's memory.

use buslane_core::{Headers, HeadersBuilder};
use bytes::BytesMut;
use rdkafka::{bindings as sys, error::RDKafkaErrorCode, types::RDKafkaRespErr};
use std::{
    borrow::Cow,
    ffi::CStr,
    ptr::{self, NonNull},
    slice,
};

/// A message, or an error in place of one, in librdkafka's memory. It keeps the broker's whole
/// answer alive, so copy it and drop it soon.
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
        // SAFETY: the message lives until `Drop`, and nothing changes it.
        unsafe { self.0.as_ref() }
    }

    /// The error that came in place of a message.
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    pub(crate) fn offset(&self) -> u64 {
        u64::try_from(self.raw().offset).unwrap_or(0)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: the key has that length and lives as long as the message.
        (!raw.key.is_null()).then(|| unsafe { bytes(raw.key.cast(), raw.key_len) })
    }

    pub(crate) fn payload(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: the payload has that length and lives as long as the message.
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

    /// Copies the headers into the front of `arena` and returns the rest of it.
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

fn push(headers: &mut HeadersBuilder, name: &CStr, value: &[u8]) {
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
    // SAFETY: the caller's promise.
    if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
}

impl Drop for FetchedMessage {
    fn drop(&mut self) {
        // SAFETY: the owner destroys the message, once.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}
