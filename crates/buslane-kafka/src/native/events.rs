//! Whether a client has more to say. rdkafka's poll returns nothing both when there is no event and
//! when it has served one.

use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
};

/// Whether an event waits in the queue that the consumer's poll reads.
pub(crate) fn has_events<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive during the call. The queue's handle is ours, null without a
    // group, and given back at once.
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
