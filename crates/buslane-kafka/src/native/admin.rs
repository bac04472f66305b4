//! Admin requests that rdkafka lacks. One changes single settings of a topic, because rdkafka's
//! call resets the settings that it does not name. The other fetches the committed offsets of any
//! group, because rdkafka's call knows only the group of a consumer, on the thread that polls it.

use super::client::millis;
use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    types::{RDKafkaAdminOp, RDKafkaAdminOptions, RDKafkaRespErr},
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, NulError, c_char},
    ptr, slice,
    time::Duration,
};

/// Sets `settings` of `topic`. Blocks until the broker has answered, at most for `timeout`.
///
/// # Errors
/// Why there is no answer, or why the broker refuses the settings.
pub(crate) fn alter_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    settings: &[(&str, String)],
    timeout: Duration,
) -> Result<(), String> {
    let topic = c_string(topic)?;
    let settings = settings
        .iter()
        .map(|(name, value)| Ok((c_string(name)?, c_string(value)?)))
        .collect::<Result<Vec<_>, String>>()?;
    // SAFETY: the client and the texts outlive the calls, and librdkafka copies the texts. The
    // resource lives until after the answer and is destroyed once.
    unsafe {
        let resource = sys::rd_kafka_ConfigResource_new(
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            topic.as_ptr(),
        );
        let set = |(name, value): &(CString, CString)| {
            let error = sys::rd_kafka_ConfigResource_add_incremental_config(
                resource,
                name.as_ptr(),
                sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
                value.as_ptr(),
            );
            if error.is_null() {
                return Ok(());
            }
            let reason = text(sys::rd_kafka_error_string(error));
            sys::rd_kafka_error_destroy(error);
            Err(reason)
        };
        let answer = settings.iter().try_for_each(set).and_then(|()| {
            request(
                client,
                RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS,
                timeout,
                |options, queue| {
                    sys::rd_kafka_IncrementalAlterConfigs(
                        client.native_ptr(),
                        [resource].as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                },
                |event| altered(event),
            )
        });
        sys::rd_kafka_ConfigResource_destroy(resource);
        answer
    }
}

/// # Safety
/// `event` is the answer to `IncrementalAlterConfigs` and holds no error.
unsafe fn altered(event: *mut sys::rd_kafka_event_t) -> Result<(), String> {
    let mut count = 0;
    // SAFETY: the caller passes an answer of this kind, so the result is not null. Its `count`
    // resources and their texts live as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event);
        let resources =
            sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        if count == 0
            || sys::rd_kafka_ConfigResource_error(*resources)
                == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Ok(());
        }
        Err(text(sys::rd_kafka_ConfigResource_error_string(*resources)))
    }
}

/// The committed offsets of `group` in these partitions; partitions without a commit are missing.
/// Blocks until the broker has answered, at most for `timeout`.
///
/// # Errors
/// Why there is no answer.
pub(crate) fn committed<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    partitions: &[(String, i32)],
    timeout: Duration,
) -> Result<HashMap<(String, i32), u64>, String> {
    let group = c_string(group)?;
    let partitions = partitions
        .iter()
        .map(|(topic, partition)| Ok((c_string(topic)?, *partition)))
        .collect::<Result<Vec<_>, String>>()?;
    // SAFETY: the client and the texts outlive the calls, and librdkafka copies the texts and the
    // list. The list and the question are destroyed once, the question after the answer.
    unsafe {
        let list =
            sys::rd_kafka_topic_partition_list_new(i32::try_from(partitions.len()).unwrap_or(0));
        for (topic, partition) in &partitions {
            sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition);
        }
        let question = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list);
        sys::rd_kafka_topic_partition_list_destroy(list);
        let answer = request(
            client,
            RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            timeout,
            |options, queue| {
                sys::rd_kafka_ListConsumerGroupOffsets(
                    client.native_ptr(),
                    [question].as_mut_ptr(),
                    1,
                    options,
                    queue,
                );
            },
            |event| committed_offsets(event),
        );
        sys::rd_kafka_ListConsumerGroupOffsets_destroy(question);
        answer
    }
}

/// # Safety
/// `event` is the answer to `ListConsumerGroupOffsets` and holds no error.
unsafe fn committed_offsets(
    event: *mut sys::rd_kafka_event_t,
) -> Result<HashMap<(String, i32), u64>, String> {
    let mut count = 0;
    // SAFETY: the caller passes an answer of this kind, so the result is not null. Its `count`
    // groups, with their lists, names and errors, live as long as the event.
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
        let partitions = match usize::try_from((*list).cnt) {
            Ok(count) if count > 0 => slice::from_raw_parts((*list).elems, count),
            _ => &[],
        };
        let offset = |partition: &sys::rd_kafka_topic_partition_t| {
            let offset = u64::try_from(partition.offset).ok()?;
            Some(((text(partition.topic), partition.partition), offset))
        };
        Ok(partitions.iter().filter_map(offset).collect())
    }
}

/// Sends an admin request and waits for its answer, at most for `timeout`.
///
/// # Safety
/// `send` hands its options and its queue to one call for `operation` on `client`. `read` is sound
/// for the answer to that call while the answer holds no error; it keeps nothing of the answer.
unsafe fn request<C: ClientContext, T>(
    client: &Client<C>,
    operation: RDKafkaAdminOp,
    timeout: Duration,
    send: impl FnOnce(*const RDKafkaAdminOptions, *mut sys::rd_kafka_queue_t),
    read: impl FnOnce(*mut sys::rd_kafka_event_t) -> Result<T, String>,
) -> Result<T, String> {
    let timeout = millis(timeout);
    // SAFETY: the client outlives the calls. Event, queue and options are destroyed once each, in
    // this order, after their last use.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        send(options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout);
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
        answer
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|error: NulError| error.to_string())
}

/// # Safety
/// `text` is null, or ends with a zero byte and lives during the call.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: the text is not null, and the caller guarantees that it ends with a zero byte and
    // lives during the call.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
