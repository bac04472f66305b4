//! Hands a record to the client. rdkafka's own call copies the topic and the name of each header
//! once more, to end them with a zero byte: five allocations a record.

use buslane_core::{Headers, Record};
use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    error::{IsError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
    util::IntoOpaque,
};
use std::{ffi::CStr, ptr};

/// Queues a copy of `record`. Its ticket comes to the delivery callback of the client, or back with
/// the error.
pub(crate) fn produce<C: ClientContext, T: IntoOpaque>(
    client: &Client<C>,
    topic: &CStr,
    record: &Record,
    ticket: T,
) -> Result<(), (RDKafkaErrorCode, T)> {
    let (key, key_len) =
        record.key.as_ref().map_or((ptr::null(), 0), |key| (key.as_ptr(), key.len()));
    // An empty body has an address, and none at all has none.
    let payload = if record.is_null { ptr::null() } else { record.payload.as_ptr() };
    let headers = list(&record.headers);
    let ticket = ticket.into_ptr();
    // SAFETY: all parts are alive during the call, which copies them; each word is followed by what
    // librdkafka expects of it, and the list is its own once it has taken the record.
    let answer = unsafe {
        sys::rd_kafka_producev(
            client.native_ptr(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            sys::RD_KAFKA_MSG_F_COPY,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            payload,
            record.payload.len(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
            key,
            key_len,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
            ticket,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            headers,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        )
    };
    if !answer.is_error() {
        return Ok(());
    }
    // SAFETY: librdkafka has kept neither; the ticket is the one above.
    let ticket = unsafe {
        if !headers.is_null() {
            sys::rd_kafka_headers_destroy(headers);
        }
        T::from_ptr(ticket)
    };
    Err((RDKafkaErrorCode::from(answer), ticket))
}

/// Headers that a list has room for at once; it grows.
const USUAL: usize = 8;

/// A list for librdkafka, null when there are no headers.
fn list(headers: &Headers) -> *mut sys::rd_kafka_headers_t {
    if headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: name and value have the lengths that are told, and are copied.
    unsafe {
        let list = sys::rd_kafka_headers_new(USUAL);
        for (name, value) in headers.iter() {
            let answer = sys::rd_kafka_header_add(
                list,
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value.as_ptr().cast(),
                value.len().cast_signed(),
            );
            debug_assert_eq!(
                answer,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                "the list is our own"
            );
        }
        list
    }
}
