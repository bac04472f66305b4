//! Pools for what runs beside the messages of a bus: one of each kind, built when it is needed.
//!
//! The pools that run the messages would not do. A shadow would hold workers, lanes and slots there
//! that messages wait for, and a shadow that never ends would hold them for ever; and it would be
//! in the figures by which the guard judges the pools. Shadows share the executor with the
//! messages, and nothing else.

use crate::{
    PoolMetrics,
    worker_pool::{PoolSpec, WorkerPool},
};
use buslane_core::{Job, Pool};
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A keyed and an actor pool, with the bounds of those that run the messages.
///
/// # Drop behaviour
/// Open jobs are dropped.
pub(crate) struct ShadowPools {
    specs: [PoolSpec; 2],
    /// Set to `None` by a stop that comes before the first job.
    pools: [OnceLock<Option<Arc<WorkerPool>>>; 2],
}

impl ShadowPools {
    pub(crate) fn new(specs: [PoolSpec; 2]) -> Self {
        Self { specs, pools: Default::default() }
    }

    /// Runs a job by the pool with this index; drops it where there is no room. Never waits.
    pub(crate) fn try_submit(&self, index: usize, job: Job) -> bool {
        let pool = self.pools[index].get_or_init(|| {
            let pool = WorkerPool::new(self.specs[index].clone(), Arc::default());
            // Metrics would have the names of the pools that run the messages.
            pool.start_with(PoolMetrics::none);
            Some(Arc::new(pool))
        });
        pool.as_ref().is_some_and(|pool| pool.try_submit(&mut VecDeque::from([job])).is_ok())
    }

    /// Drops every queued job that `matches`.
    pub(crate) fn purge(&self, matches: &dyn Fn(&Job) -> bool) {
        for pool in self.pools.iter().filter_map(|pool| pool.get()?.as_ref()) {
            pool.purge(matches);
        }
    }

    /// Takes no more jobs and drops the open ones, at once.
    pub(crate) async fn stop(&self) {
        for pool in &self.pools {
            if let Some(pool) = pool.get_or_init(|| None) {
                pool.stop(Duration::ZERO).await;
            }
        }
    }
}
