//! Which topics the brokers know, asked for in one question. rdkafka asks for one topic or for all
//! that there are.

use buslane_core::Topic;
use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    error::{IsError, KafkaError, KafkaResult},
};
use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    ptr,
    time::Duration,
};

/// Those of `topics` that the brokers know. The client remembers the answer for
/// `metadata.max.age.ms`. Blocks for at most `patience`.
///
/// # Errors
/// When no broker answers in time.
pub(crate) fn named<C: ClientContext>(
    client: &Client<C>,
    topics: &BTreeSet<Topic>,
    patience: Duration,
) -> KafkaResult<BTreeSet<Topic>> {
    for topic in topics {
        let name = CString::new(topic.as_str())?;
        // SAFETY: client and name are alive during the call, which copies the name; without a
        // configuration it takes the client's. What is returned is ours, is given back at once, and
        // may be null; the client keeps the name in its list.
        unsafe {
            let local =
                sys::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), ptr::null_mut());
            if !local.is_null() {
                sys::rd_kafka_topic_destroy(local);
            }
        }
    }
    let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let mut answer: *const sys::rd_kafka_metadata = ptr::null();
    // SAFETY: the client is alive during the call, which writes the pointer where it returns no
    // error. The question is for the topics in the client's list.
    let code = unsafe {
        sys::rd_kafka_metadata(client.native_ptr(), 0, ptr::null_mut(), &raw mut answer, patience)
    };
    if code.is_error() {
        return Err(KafkaError::MetadataFetch(code.into()));
    }
    let mut named = BTreeSet::new();
    // SAFETY: the answer is ours, is read once and then freed; it holds so many topics, each with a
    // name that ends in zero.
    unsafe {
        for at in 0..usize::try_from((*answer).topic_cnt).unwrap_or(0) {
            let topic = &*(*answer).topics.add(at);
            let name = CStr::from_ptr(topic.topic).to_str().unwrap_or_default();
            if !topic.err.is_error()
                && let Some(topic) = topics.get(name)
            {
                named.insert(topic.clone());
            }
        }
        sys::rd_kafka_metadata_destroy(answer);
    }
    Ok(named)
}
