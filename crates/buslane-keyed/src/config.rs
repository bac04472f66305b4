//! Sizes of the keyed-worker pool.

use buslane_core::ErasedHandler;
use buslane_pools::{Bounds, Mode};
use std::{sync::Arc, time::Duration};

/// How a keyed pool is built: [`start`](Self::start) starts one.
#[derive(Clone)]
pub struct KeyedPoolConfig {
    /// Workers: handlers that run or wait at the same time. Default: 256. At least 1.
    pub workers: usize,
    /// Longest wait of a submitter for room. Default: 500 ms.
    pub wait_timeout: Duration,
    /// A lane per key, or a fixed number of slots. Default: a lane per key.
    pub mode: Mode,
    /// How much may be open. Default: 256,000 messages, 1,000 a lane.
    pub bounds: Bounds,
    /// Handles jobs that bring no handler. Default: none.
    pub default_handler: Option<Arc<dyn ErasedHandler>>,
    /// First word of the metric names, as in `memory_eventbus_keyed_pool_…`. Default: `memory`.
    pub backend: &'static str,
}

impl Default for KeyedPoolConfig {
    fn default() -> Self {
        Self {
            workers: 256,
            wait_timeout: Duration::from_millis(500),
            mode: Mode::Exclusive,
            bounds: Bounds::default(),
            default_handler: None,
            backend: "memory",
        }
    }
}
