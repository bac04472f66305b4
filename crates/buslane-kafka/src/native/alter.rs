//! Changes single settings of a topic and leaves its others alone. rdkafka has only the older call,
//! which resets what it does not name.

use rdkafka::{bindings as sys, client::Client, client::ClientContext, types::RDKafkaRespErr};
use std::{
    ffi::{CStr, CString},
    ptr,
    time::Duration,
};

/// Sets `settings` of `topic`. Blocks until the broker has answered, at most `patience`.
pub(crate) fn alter_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    settings: &[(&str, String)],
    patience: Duration,
) -> Result<(), String> {
    let topic = CString::new(topic).map_err(|error| error.to_string())?;
    let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: client and names are alive during the calls; what is made here is destroyed here,
    // once, and results are read before the event that keeps them is destroyed.
    unsafe {
        let resource = sys::rd_kafka_ConfigResource_new(
            sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            topic.as_ptr(),
        );
        for (name, value) in settings {
            let (Ok(name), Ok(value)) = (CString::new(*name), CString::new(value.as_str())) else {
                continue;
            };
            let error = sys::rd_kafka_ConfigResource_add_incremental_config(
                resource,
                name.as_ptr(),
                sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
                value.as_ptr(),
            );
            if !error.is_null() {
                let reason = text(sys::rd_kafka_error_string(error));
                sys::rd_kafka_error_destroy(error);
                sys::rd_kafka_ConfigResource_destroy(resource);
                return Err(reason);
            }
        }
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        let mut resources = [resource];
        sys::rd_kafka_IncrementalAlterConfigs(
            client.native_ptr(),
            resources.as_mut_ptr(),
            1,
            ptr::null(),
            queue,
        );
        let event = sys::rd_kafka_queue_poll(queue, patience);
        let answer = if event.is_null() {
            Err("the broker has not answered".to_owned())
        } else if sys::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            Err(text(sys::rd_kafka_event_error_string(event)))
        } else {
            let mut count = 0;
            let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event);
            let answers =
                sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
            if count == 0
                || sys::rd_kafka_ConfigResource_error(*answers)
                    == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                Ok(())
            } else {
                Err(text(sys::rd_kafka_ConfigResource_error_string(*answers)))
            }
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_ConfigResource_destroy(resource);
        answer
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
