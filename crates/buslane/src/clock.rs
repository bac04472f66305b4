//! The clock that the runtime sleeps by, so that a test can pause it.

use std::time::Instant;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
