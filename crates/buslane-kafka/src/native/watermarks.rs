//! Start and end of a partition as the last fetch has found them. rdkafka has only the call that
//! asks the broker.

use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    types::RDKafkaRespErr,
};
use std::ffi::CString;

/// `None` while nothing of the partition was fetched. Does not wait.
pub(crate) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
) -> Option<(u64, u64)> {
    let topic = CString::new(topic).ok()?;
    let (mut start, mut end) = (-1, -1);
    // SAFETY: client and name are alive during the call, which writes the two numbers.
    let answer = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &mut start,
            &mut end,
        )
    };
    if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    Some((u64::try_from(start).ok()?, u64::try_from(end).ok()?))
}
