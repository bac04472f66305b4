//! Whether a member has joined its group. rdkafka hands out a group's metadata without a way to look into it.

use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
};

/// Waits for the client's own thread, not for a broker.
pub(crate) fn has_joined<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive during the call. What it returns is ours: it is read once and freed.
    unsafe {
        let metadata = sys::rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return false;
        }
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation > 0
    }
}
