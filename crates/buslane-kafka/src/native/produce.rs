//! Hands a record to the client. rdkafka's own call copies the topic and each header's name to add
//! a zero byte, which costs five allocations a record.

use buslane_core::{Headers, Record};
use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    error::{IsError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
    util::IntoOpaque,
};
use std::{ffi::CStr, ptr};

/// Queues a copy of `record`. The client's delivery callback receives the ticket; an error returns
/// it.
pub(crate) fn produce<C: ClientContext, T: IntoOpaque>(
    client: &Client<C>,
    topic: &CStr,
    record: &Record,
    ticket: T,
) -> Result<(), (RDKafkaErrorCode, T)> {
    let (key, key_len) =
        record.key.as_ref().map_or((ptr::null(), 0), |key| (key.as_ptr(), key.len()));
    // librdkafka stores a null payload as null, and any other address as a payload.
    let payload = if record.is_null { ptr::null() } else { record.payload.as_ptr() };
    let headers = list(&record.headers);
    let ticket = ticket.into_ptr();
    // SAFETY: all parts outlive the call, which copies them. Each tag is followed by the arguments
    // that librdkafka expects. librdkafka owns the headers once it has accepted the record.
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
    // SAFETY: librdkafka has refused the record and kept neither. The ticket is the one above.
    let ticket = unsafe {
        if !headers.is_null() {
            sys::rd_kafka_headers_destroy(headers);
        }
        T::from_ptr(ticket)
    };
    Err((RDKafkaErrorCode::from(answer), ticket))
}

/// Initial capacity of a list of headers, which grows as needed.
const USUAL: usize = 8;

/// The headers as a list of librdkafka; null when there are none.
fn list(headers: &Headers) -> *mut sys::rd_kafka_headers_t {
    if headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: names and values have the given lengths, and the calls copy them.
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
                "the list is writable"
            );
        }
        list
    }
}
