//! What tests need that share a real server.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

/// The server's address, from the variable that names it.
///
/// # Panics
/// When it is not set: a missing server is a failure, not a skip.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "where a test server listens, only the environment knows"
)]
pub fn address(variable: &str) -> String {
    let Ok(address) = std::env::var(variable) else {
        panic!(
            "{variable} names no server; `cargo xtask test` starts one, `cargo xtask brokers up` too"
        );
    };
    address
}

/// A name that nothing else on the server has, now or later.
///
/// # Panics
/// When the clock stands before 1970.
#[must_use]
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock that goes")
        .as_nanos();
    format!("{what}-{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
