//! What a group has committed, asked by name through any client. rdkafka asks only for the group of
//! a consumer, on the thread that polls it.

use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    types::{RDKafkaAdminOp, RDKafkaRespErr},
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    ptr, slice,
    time::Duration,
};

/// The offsets that `group` has committed for these partitions of topics; one that is missing has
/// none. Blocks until the broker has answered, at most `patience`.
///
/// # Errors
/// Why there is no answer.
pub(crate) fn committed<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    partitions: &[(String, i32)],
    patience: Duration,
) -> Result<HashMap<(String, i32), u64>, String> {
    let group = CString::new(group).map_err(|error| error.to_string())?;
    let names =
        partitions.iter().map(|(topic, partition)| Ok((CString::new(topic.as_str())?, *partition)));
    let names =
        names.collect::<Result<Vec<_>, std::ffi::NulError>>().map_err(|error| error.to_string())?;
    let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: client and names are alive during the calls, which copy them; what is made here is
    // destroyed here, once, and the answer is read before the event that keeps it is destroyed.
    unsafe {
        let list = sys::rd_kafka_topic_partition_list_new(i32::try_from(names.len()).unwrap_or(0));
        for (topic, partition) in &names {
            sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition);
        }
        let mut question = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list);
        sys::rd_kafka_topic_partition_list_destroy(list);
        let options = sys::rd_kafka_AdminOptions_new(
            client.native_ptr(),
            RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options, patience, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        sys::rd_kafka_ListConsumerGroupOffsets(
            client.native_ptr(),
            &raw mut question,
            1,
            options,
            queue,
        );
        let event = sys::rd_kafka_queue_poll(queue, patience);
        let answer = if event.is_null() {
            Err("the broker has not answered".to_owned())
        } else if sys::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            Err(text(sys::rd_kafka_event_error_string(event)))
        } else {
            read(event)
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_ListConsumerGroupOffsets_destroy(question);
        answer
    }
}

/// # Safety
/// `event` is alive, and is the answer without an error.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Result<HashMap<(String, i32), u64>, String> {
    let mut count = 0;
    // SAFETY: as promised by the caller; lists, names and errors live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        if count == 0 {
            return Ok(HashMap::new());
        }
        let error = sys::rd_kafka_group_result_error(*groups);
        if !error.is_null() {
            return Err(text(sys::rd_kafka_error_string(error)));
        }
        let list = sys::rd_kafka_group_result_partitions(*groups);
        let found = match usize::try_from((*list).cnt) {
            Ok(found) if found > 0 => slice::from_raw_parts((*list).elems, found),
            _ => &[],
        };
        let mut offsets = HashMap::new();
        for partition in found {
            if let Ok(offset) = u64::try_from(partition.offset) {
                offsets.insert((text(partition.topic), partition.partition), offset);
            }
        }
        Ok(offsets)
    }
}

/// # Safety
/// `text` is null, or ends with a zero byte and lives during the call.
unsafe fn text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
