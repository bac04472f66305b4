//! A pool that is not there before it is needed.

use buslane_core::{Job, Moved, PoolSide, SubmitError, Taken};
use buslane_lanes::Side;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

pub(super) type MakePool = Arc<dyn Fn() -> Arc<dyn PoolSide> + Send + Sync>;

/// A pool that is started when it gets its first slot, and stays.
pub(crate) struct LazyPool {
    pub(super) make: MakePool,
    pub(super) wait_timeout: Duration,
    pub(super) pool: OnceLock<Arc<dyn PoolSide>>,
}

impl LazyPool {
    pub(crate) fn new(
        wait_timeout: Duration,
        make: impl Fn() -> Arc<dyn PoolSide> + Send + Sync + 'static,
    ) -> Self {
        Self { make: Arc::new(make), wait_timeout, pool: OnceLock::new() }
    }

    pub(super) fn started(&self) -> &Arc<dyn PoolSide> {
        self.pool.get_or_init(&*self.make)
    }
}

impl Side for LazyPool {
    type Item = Job;
    type Refusal = SubmitError;

    fn submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.started().try_submit(batch)
    }

    fn take(&self, matches: &dyn Fn(u64) -> bool) -> Taken {
        self.pool.get().map(|pool| pool.take(matches)).unwrap_or_default()
    }

    fn put(&self, jobs: Vec<Moved>) {
        self.started().put(jobs);
    }

    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.pool.get().map_or(0, |pool| pool.purge(matches))
    }
}
