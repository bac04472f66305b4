//! Addresses and unique names for tests that share a real server.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

/// The address of a server, from an environment variable.
///
/// # Panics
/// When the variable is not set, because a missing server must not skip a test.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "only the environment knows the address of a test server"
)]
pub fn address(variable: &str) -> String {
    let Ok(address) = std::env::var(variable) else {
        panic!(
            "{variable} names no server; `cargo xtask test` starts one, `cargo xtask brokers up` too"
        );
    };
    address
}

/// A name that is unique on the server.
///
/// # Panics
/// When the clock is before 1970.
#[must_use]
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock that goes")
        .as_nanos();
    format!("{what}-{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
