//! The pools that run shadows: one of each kind, built when the first shadow needs it.
//!
//! Shadows cannot run in the pools of the messages. They would occupy workers, lanes and slots that
//! messages wait for, for ever if a shadow never ends, and they would change the figures by which
//! the guard judges the pools. Shadows share only the executor with the messages.

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
    /// A stop sets it to `None` if it comes before the first job.
    pools: [OnceLock<Option<Arc<WorkerPool>>>; 2],
}

impl ShadowPools {
    pub(crate) fn new(specs: [PoolSpec; 2]) -> Self {
        Self { specs, pools: Default::default() }
    }

    /// Runs a job in the pool with this index, or drops it if there is no room. Never waits.
    /// Returns whether the pool accepted the job.
    pub(crate) fn try_submit(&self, index: usize, job: Job) -> bool {
        let pool = self.pools[index].get_or_init(|| {
            let pool = WorkerPool::new(self.specs[index].clone(), Arc::default());
            // Its metrics would have the names of the pools that run the messages.
            pool.start_with(PoolMetrics::none);
            Some(Arc::new(pool))
        });
        pool.as_ref().is_some_and(|pool| pool.try_submit(&mut VecDeque::from([job])).is_ok())
    }

    /// Drops every queued job that satisfies `matches`.
    pub(crate) fn purge(&self, matches: &dyn Fn(&Job) -> bool) {
        for pool in self.pools.iter().filter_map(|pool| pool.get()?.as_ref()) {
            pool.purge(matches);
        }
    }

    /// Refuses jobs from now on, and drops the open ones at once.
    pub(crate) async fn stop(&self) {
        for pool in &self.pools {
            if let Some(pool) = pool.get_or_init(|| None) {
                pool.stop(Duration::ZERO).await;
            }
        }
    }
}
