//! Ends clients without blocking the caller.

use std::thread;

/// Drops a client on a thread of this name, because the client waits for its own threads. If no
/// thread can be spawned, the client ends here.
pub(crate) fn drop_on_thread<T: Send + 'static>(name: &str, client: T) {
    drop(thread::Builder::new().name(name.to_owned()).spawn(move || drop(client)));
}
