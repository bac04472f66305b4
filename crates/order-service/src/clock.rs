//! Time since the Unix epoch that never goes back within a process, whatever is done to the
//! system's clock.

use std::time::{Instant, SystemTime};

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin_ns: u64,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            origin_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            started: Instant::now(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.origin_ns.saturating_add(elapsed)
    }
}
