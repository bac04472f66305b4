//! More brokers for a client that runs.

use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
};
use std::ffi::CString;

/// Tells the client of brokers, as `bootstrap.servers` does. Returns how many of them it knows now.
/// Does not wait.
pub(crate) fn add_brokers<C: ClientContext>(client: &Client<C>, brokers: &str) -> i32 {
    let Ok(brokers) = CString::new(brokers) else { return 0 };
    // SAFETY: client and text are alive during the call, which copies the text.
    unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) }
}
