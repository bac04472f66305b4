//! The contract of pools, kept by the actor pool.

use buslane_actor::ActorPoolConfig;
use buslane_core::Pool;
use buslane_testkit::pool_suite::{PoolFixture, PoolOptions};
use std::sync::Arc;

struct Actors;

impl PoolFixture for Actors {
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool> {
        let PoolOptions { workers, bounds, wait_timeout, mode, default_handler, .. } = options;
        Arc::new(
            ActorPoolConfig {
                actors: workers,
                max_restarts: options.max_restarts,
                restart_window: options.restart_window,
                cool_down: options.cool_down,
                wait_timeout,
                mode,
                bounds,
                default_handler,
                ..Default::default()
            }
            .start(),
        )
    }

    fn is_supervised(&self) -> bool {
        true
    }
}

buslane_testkit::pool_suite!(actor, Actors);
