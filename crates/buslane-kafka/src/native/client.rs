//! Calls on any client: records to send, brokers to connect to, waiting events, existing topics,
//! the token of the next login, and the start and the end of a partition.

use buslane_core::{Headers, Record, Topic};
use rdkafka::{
    Offset, TopicPartitionList, bindings as sys,
    client::{Client, ClientContext},
    error::{IsError, KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
    util::IntoOpaque,
};
use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    ptr,
    time::Duration,
};

/// The size of the buffer for librdkafka's reason to refuse a token.
const REASON_BYTES: usize = 512;

/// A timeout as librdkafka takes it.
pub(super) fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// Adds brokers, in the format of `bootstrap.servers`, to those that the client may connect to.
/// Returns the number of accepted brokers. Does not wait.
pub(crate) fn add_brokers<C: ClientContext>(client: &Client<C>, brokers: &str) -> i32 {
    let Ok(brokers) = CString::new(brokers) else { return 0 };
    // SAFETY: client and text outlive the call, which copies the text.
    unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) }
}

/// Whether an event waits in the queue of the consumer's poll. rdkafka's poll returns nothing both
/// when no event waits and after it has served one.
pub(crate) fn has_events<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client outlives the calls. The handle of the queue is null for a client without a
    // group; any other one is given back once, after its last use.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(client.native_ptr());
        if queue.is_null() {
            return false;
        }
        let waiting = sys::rd_kafka_queue_length(queue);
        sys::rd_kafka_queue_destroy(queue);
        waiting > 0
    }
}

/// The topics of `topics` that the brokers know, found with one request; rdkafka requests one topic
/// or all of them. The client caches the answer for `metadata.max.age.ms`. Blocks for at most
/// `timeout`.
///
/// # Errors
/// When no broker answers in time.
pub(crate) fn existing_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &BTreeSet<Topic>,
    timeout: Duration,
) -> KafkaResult<BTreeSet<Topic>> {
    for topic in topics {
        // Creating a handle adds the topic to the client's list, where it stays.
        let name = CString::new(topic.as_str())?;
        // SAFETY: client and name outlive the call, which copies the name and accepts a null
        // configuration. The handle is given back once, unless it is null.
        unsafe {
            let local =
                sys::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), ptr::null_mut());
            if !local.is_null() {
                sys::rd_kafka_topic_destroy(local);
            }
        }
    }
    // These arguments ask for the topics in the client's list.
    let mut answer: *const sys::rd_kafka_metadata = ptr::null();
    // SAFETY: the client outlives the call, which sets the pointer unless it returns an error.
    let code = unsafe {
        sys::rd_kafka_metadata(
            client.native_ptr(),
            0,
            ptr::null_mut(),
            &raw mut answer,
            millis(timeout),
        )
    };
    if code.is_error() {
        return Err(KafkaError::MetadataFetch(code.into()));
    }
    let mut existing = BTreeSet::new();
    // SAFETY: the answer holds `topic_cnt` topics, whose names end with a zero byte, and is freed
    // once after the last use.
    unsafe {
        for at in 0..usize::try_from((*answer).topic_cnt).unwrap_or(0) {
            let topic = &*(*answer).topics.add(at);
            let name = CStr::from_ptr(topic.topic).to_str().unwrap_or_default();
            if !topic.err.is_error()
                && let Some(topic) = topics.get(name)
            {
                existing.insert(topic.clone());
            }
        }
        sys::rd_kafka_metadata_destroy(answer);
    }
    Ok(existing)
}

/// Sets the token of the client's next login. The token expires at `expires_ms`, in milliseconds
/// since 1970. rdkafka sets tokens only in a callback, which an admin client never calls.
///
/// # Errors
/// Why librdkafka refuses the token.
pub(crate) fn set_token<C: ClientContext>(
    client: &Client<C>,
    token: &str,
    principal: &str,
    expires_ms: i64,
) -> Result<(), String> {
    let text =
        |text: &str| CString::new(text).map_err(|_| "the token holds a zero byte".to_owned());
    let (token, principal) = (text(token)?, text(principal)?);
    let mut reason = [0; REASON_BYTES];
    // SAFETY: client and texts outlive the call, which copies the texts. On an error it writes a
    // reason into the buffer, at most as long as that, with a zero byte at its end.
    unsafe {
        let code = sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr(),
            expires_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        );
        if !code.is_error() {
            return Ok(());
        }
        Err(CStr::from_ptr(reason.as_ptr()).to_string_lossy().into_owned())
    }
}

/// The offset after the last message or marker of a transaction that was read from the queue of an
/// assigned partition; `None` before the first one and after a seek. Does not wait.
pub(crate) fn position<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
) -> Option<u64> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition);
    // SAFETY: client and list outlive the call, which writes the offset into the list.
    let code = unsafe { sys::rd_kafka_position(client.native_ptr(), list.ptr()) };
    match list.elements().first()?.offset() {
        Offset::Offset(offset) if !code.is_error() => u64::try_from(offset).ok(),
        _ => None,
    }
}

/// The start and the end of a partition in the last fetch; `None` before the first fetch. Does not
/// wait, whereas rdkafka's own call sends a request.
pub(crate) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
) -> Option<(u64, u64)> {
    let topic = CString::new(topic).ok()?;
    let (mut start, mut end) = (-1, -1);
    // SAFETY: client and name outlive the call, which writes the two numbers.
    let code = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &mut start,
            &mut end,
        )
    };
    if code.is_error() {
        return None;
    }
    Some((u64::try_from(start).ok()?, u64::try_from(end).ok()?))
}

/// In place of a partition: `RD_KAFKA_PARTITION_UA`, a macro of librdkafka's header.
const PARTITIONER_CHOOSES: i32 = -1;

/// Queues a copy of `record` for a partition; `None` lets the partitioner choose one. The client's
/// delivery callback receives the ticket, and an error returns the ticket. rdkafka's own call
/// copies the topic and each header's name to add a zero byte, which costs five allocations per
/// record.
pub(crate) fn produce<C: ClientContext, T: IntoOpaque>(
    client: &Client<C>,
    topic: &CStr,
    partition: Option<u32>,
    record: &Record,
    ticket: T,
) -> Result<(), (RDKafkaErrorCode, T)> {
    let (key, key_len) =
        record.key.as_ref().map_or((ptr::null(), 0), |key| (key.as_ptr(), key.len()));
    // librdkafka stores a null payload as null, and any other address as a payload.
    let payload = if record.is_null { ptr::null() } else { record.payload.as_ptr() };
    let headers = header_list(&record.headers);
    let ticket = ticket.into_ptr();
    let partition = partition.map_or(PARTITIONER_CHOOSES, u32::cast_signed);
    // SAFETY: each tag is followed by the arguments that librdkafka expects. All parts outlive the
    // call, which copies them, except the headers, which it owns once it has accepted the record.
    let answer = unsafe {
        sys::rd_kafka_producev(
            client.native_ptr(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            partition,
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
    // SAFETY: librdkafka has refused the record, so headers and ticket still belong to this
    // function. Each is taken back once, and the ticket as the type that it was made from.
    let ticket = unsafe {
        if !headers.is_null() {
            sys::rd_kafka_headers_destroy(headers);
        }
        T::from_ptr(ticket)
    };
    Err((RDKafkaErrorCode::from(answer), ticket))
}

/// Initial capacity of a list of headers, which grows as needed.
const USUAL_HEADERS: usize = 8;

/// The headers as a list of librdkafka; null when there are none.
fn header_list(headers: &Headers) -> *mut sys::rd_kafka_headers_t {
    if headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: names and values have the given lengths, and the calls copy them. The list is not
    // shared yet.
    unsafe {
        let list = sys::rd_kafka_headers_new(USUAL_HEADERS);
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
