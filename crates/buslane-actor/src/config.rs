//! Sizes and restart limits of the actor pool.

use buslane_core::ErasedHandler;
use buslane_pools::{Bounds, Mode};
use std::{sync::Arc, time::Duration};

/// How an actor pool is built: [`start`](Self::start) starts one.
#[derive(Clone)]
pub struct ActorPoolConfig {
    /// Actors: handlers that run or wait at the same time. Default: 256. At least 1.
    pub actors: usize,
    /// Restarts of one actor within [`restart_window`](Self::restart_window) before it cools down;
    /// 0 lets it cool down after its first failure. Default: 3.
    pub max_restarts: usize,
    /// How long a restart is remembered. Default: 60 s.
    pub restart_window: Duration,
    /// How long an actor that failed too often rests before it is tried again. Default: 30 s.
    pub cool_down: Duration,
    /// Longest wait of a submitter for room. Default: 500 ms.
    pub wait_timeout: Duration,
    /// A lane per key, or a fixed number of slots. Default: a lane per key.
    pub mode: Mode,
    /// How much may be open. Default: 256,000 messages, 1,000 a lane. See
    /// [`inbox_size`](Self::inbox_size).
    pub bounds: Bounds,
    /// Handles jobs that bring no handler. Default: none.
    pub default_handler: Option<Arc<dyn ErasedHandler>>,
    /// First word of the metric names, as in `memory_eventbus_actor_pool_…`. Default: `memory`.
    pub backend: &'static str,
}

impl ActorPoolConfig {
    /// Bounds the open messages to `inbox_size` for each actor. Actors share their lanes, so this
    /// is a figure of the pool: any lane may use what others leave, up to its own bound.
    #[must_use]
    pub const fn inbox_size(mut self, inbox_size: usize) -> Self {
        self.bounds.messages = self.actors.saturating_mul(inbox_size);
        self
    }
}

impl Default for ActorPoolConfig {
    fn default() -> Self {
        Self {
            actors: 256,
            max_restarts: 3,
            restart_window: Duration::from_secs(60),
            cool_down: Duration::from_secs(30),
            wait_timeout: Duration::from_millis(500),
            mode: Mode::Exclusive,
            bounds: Bounds::default(),
            default_handler: None,
            backend: "memory",
        }
    }
}
