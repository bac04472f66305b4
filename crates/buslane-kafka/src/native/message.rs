//! One message as librdkafka hands it out.

use buslane_core::{Headers, HeadersBuilder};
use bytes::BytesMut;
use rdkafka::{bindings as sys, error::RDKafkaErrorCode, types::RDKafkaRespErr};
use std::{
    borrow::Cow,
    ffi::CStr,
    ptr::{self, NonNull},
    slice,
};

/// A message that lies in librdkafka's memory, next to others of the same answer: short-lived, or
/// it keeps them all.
///
/// Must be dropped while its client is alive.
pub(crate) struct Fetched(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message belongs to whoever holds it, and its parts are counted atomically.
unsafe impl Send for Fetched {}

impl Fetched {
    /// # Safety
    /// `message` is null, or a message that nobody else destroys.
    pub(super) unsafe fn new(message: *mut sys::rd_kafka_message_t) -> Option<Self> {
        NonNull::new(message).map(Self)
    }

    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: alive until `Drop`, and nobody changes it.
        unsafe { self.0.as_ref() }
    }

    /// An error that came in place of a message.
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    pub(crate) fn offset(&self) -> u64 {
        u64::try_from(self.raw().offset).unwrap_or(0)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: librdkafka's key has that length.
        (!raw.key.is_null()).then(|| unsafe { bytes(raw.key.cast(), raw.key_len) })
    }

    pub(crate) fn payload(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: librdkafka's payload has that length.
        unsafe { bytes(raw.payload.cast(), raw.len) }
    }

    /// It has no body, not even an empty one.
    pub(crate) fn is_null(&self) -> bool {
        self.raw().payload.is_null()
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn timestamp_ms(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) }
    }

    /// Copies the headers into the front of `arena`; gives back the rest of it.
    pub(crate) fn headers(&self, arena: BytesMut) -> (Headers, BytesMut) {
        let mut list = ptr::null_mut();
        // SAFETY: the message is alive, and keeps the list.
        let answer = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut list) };
        if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return (Headers::new(), arena);
        }
        let mut headers = Headers::builder_in(arena);
        for index in 0.. {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is alive as long as the message; an index behind its end is answered
            // with an error.
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
            // SAFETY: the name ends with a zero byte, and the value has that length.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value.cast(), len)) };
            push(&mut headers, name, value);
        }
        headers.build_and_return()
    }
}

fn push(headers: &mut HeadersBuilder, name: &CStr, value: &[u8]) {
    // Checking is much cheaper than looking for what to replace.
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
    // SAFETY: as promised by the caller.
    if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // SAFETY: ours to destroy, once.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}
