//! The contract of pools, kept by the keyed-worker pool.

use buslane_core::Pool;
use buslane_keyed::KeyedPoolConfig;
use buslane_testkit::pool_suite::{PoolFixture, PoolOptions};
use std::sync::Arc;

struct Keyed;

impl PoolFixture for Keyed {
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool> {
        let PoolOptions { workers, bounds, wait_timeout, mode, default_handler, .. } = options;
        let config = KeyedPoolConfig {
            workers,
            wait_timeout,
            mode,
            bounds,
            default_handler,
            ..Default::default()
        };
        Arc::new(config.start())
    }

    fn is_supervised(&self) -> bool {
        false
    }
}

buslane_testkit::pool_suite!(keyed, Keyed);
