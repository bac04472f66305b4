//! A question to the broker that one branch of a `select!` waits for, as long as there is one.

use buslane_core::{BoxFuture, BrokerError};

pub(crate) type Asked<'a, T> = Option<BoxFuture<'a, Result<T, BrokerError>>>;

/// Waits for the answer; for ever where nothing was asked.
pub(crate) async fn answer<T>(asked: &mut Asked<'_, T>) -> Result<T, BrokerError> {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}
