//! What runs beside the messages of a bus: in pools of its own, one of each kind, made when they
//! are needed.
//!
//! Not in the pools that run the messages: there it would hold workers, lanes and slots that
//! messages wait for, and a job that never ends would hold them for ever; and it would be in the
//! figures that the guard judges the pools by. So there is nothing to subtract anywhere: what runs
//! here can neither be waited for nor be mistaken for a message. It shares the executor, and no
//! more.

use super::lazy_pool::MakePool;
use buslane_core::{Job, PoolSide};
use metrics::NoopRecorder;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Both pools, with the bounds that those of the messages have.
///
/// # Drop behaviour
/// What is open is dropped.
pub(super) struct Beside {
    make: [MakePool; 2],
    /// Filled with nothing when it is stopped before it was needed.
    pools: [OnceLock<Option<Arc<dyn PoolSide>>>; 2],
}

impl Beside {
    pub(super) fn new(make: [MakePool; 2]) -> Self {
        Self { make, pools: Default::default() }
    }

    /// Runs a job by the pool of this side; drops it where there is no room. Never waits.
    pub(super) fn try_submit(&self, side: usize, job: Job) -> bool {
        let make = || Some(unmeasured(&self.make[side]));
        let Some(pool) = self.pools[side].get_or_init(make) else { return false };
        pool.try_submit(&mut VecDeque::from([job])).is_ok()
    }

    /// Drops every queued job that `matches`.
    pub(super) fn purge(&self, matches: &dyn Fn(&Job) -> bool) {
        for pool in self.pools.iter().filter_map(|pool| pool.get()?.as_ref()) {
            pool.purge(matches);
        }
    }

    /// Takes no more jobs and drops what is open, at once.
    pub(super) async fn stop(&self) {
        let [keyed, actor] = self.pools.each_ref().map(|pool| pool.get_or_init(|| None));
        let stop = async |pool: &Option<Arc<dyn PoolSide>>| {
            if let Some(pool) = pool {
                pool.stop(Duration::ZERO).await;
            }
        };
        tokio::join!(stop(keyed), stop(actor));
    }
}

/// A pool without metrics: theirs have the names of the pools that run the messages.
fn unmeasured(make: &MakePool) -> Arc<dyn PoolSide> {
    metrics::with_local_recorder(&NoopRecorder, || make())
}

#[cfg(test)]
mod tests {
    use super::super::{ACTOR, KEYED, LazyPool, SplitPool};
    use buslane_actor::{ActorPool, ActorPoolConfig};
    use buslane_core::{Job, Kind, Message, Pool, PoolSide, Settlement, Topic, erase};
    use buslane_keyed::{KeyedPool, KeyedPoolConfig};
    use buslane_lanes::SLOTS;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        time::Duration,
    };
    use tokio::sync::Notify;

    type Made = Arc<[AtomicUsize; 2]>;

    fn side(made: &Made, side: usize) -> LazyPool {
        let made = Arc::clone(made);
        LazyPool::new(Duration::from_millis(10), move || -> Arc<dyn PoolSide> {
            made[side].fetch_add(1, SeqCst);
            if side == KEYED {
                Arc::new(KeyedPool::new(KeyedPoolConfig { workers: 2, ..Default::default() }))
            } else {
                Arc::new(ActorPool::new(ActorPoolConfig { actors: 2, ..Default::default() }))
            }
        })
    }

    fn both(boundary: usize) -> (SplitPool, Made) {
        let made = Made::default();
        (SplitPool::new(side(&made, KEYED), side(&made, ACTOR), boundary, 100), made)
    }

    /// A job that tells when it runs, and never ends.
    fn job(runs: &Arc<Notify>) -> Job {
        let runs = Arc::clone(runs);
        let handler = erase(Kind::Envelope, move |_: Message| {
            runs.notify_one();
            std::future::pending::<()>()
        });
        let message = Message::new(Topic::new("orders").unwrap(), "body");
        Job::new(7, message, Settlement::ignored()).with_handler(handler)
    }

    #[tokio::test]
    async fn s7_runs_by_the_other_kind_and_is_in_no_figure() {
        for (boundary, own, other) in [(0, KEYED, ACTOR), (SLOTS, ACTOR, KEYED)] {
            let ((pool, made), runs) = (both(boundary), Arc::new(Notify::new()));
            let count = |side: usize| made[side].load(SeqCst);
            assert_eq!((count(own), count(other)), (1, 0));
            let before = pool.stats();
            assert!(pool.try_beside(job(&runs)));
            runs.notified().await;
            assert_eq!((count(own), count(other)), (1, 1));
            assert!(pool.stats() == before && pool.running().is_empty() && pool.lane(7).is_none());
            let report = pool.stop(Duration::from_secs(10)).await;
            assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 0, 0));
            assert!(!pool.try_beside(job(&runs)), "it is stopped");
        }
    }

    #[tokio::test]
    async fn s7_nothing_runs_beside_a_slot_on_its_way_or_a_pool_that_has_stopped() {
        let ((pool, made), runs) = (both(0), Arc::new(Notify::new()));
        pool.aim(SLOTS);
        assert!(!pool.try_beside(job(&runs)));
        while pool.counts().moving > 0 {
            pool.step();
        }
        pool.stop(Duration::from_secs(10)).await;
        assert!(!pool.try_beside(job(&runs)));
        assert_eq!(
            [made[KEYED].load(SeqCst), made[ACTOR].load(SeqCst)],
            [1, 1],
            "none was made for what was refused"
        );
    }
}
