//! The keyed and the actor pool of a bus behind one interface: each hash slot is owned by one of
//! them, and can migrate to the other while messages flow.

use crate::{
    Engine, MigrationProgress, SlotCounts,
    job_box::{JobBox, JobBoxes},
    shadows::ShadowPools,
    submit::{SubmitRefusal, Target, stamp, submit},
    worker_pool::{PoolSpec, StopOnce, WorkerPool, ended},
};
use buslane_core::{
    BoxFuture, Job, LaneState, Latencies, Pool, PoolStats, RunningJob, StopReport, SubmitError,
};
use buslane_lanes::{RouterRefusal, SlotRouter};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// The index of the keyed pool.
pub const KEYED: usize = 0;
/// The index of the actor pool.
pub const ACTOR: usize = 1;

/// The first and the longest pause between two steps of the migrations during a stop.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// A keyed pool and an actor pool that share the keys. A pool starts before it owns its first slot,
/// and runs until the stop.
///
/// # Drop behaviour
/// As [`WorkerPool`]; messages between the pools are abandoned.
pub struct Pools {
    pair: Arc<PoolPair>,
    stop: StopOnce,
}

struct PoolPair {
    router: SlotRouter<JobBox>,
    pools: [WorkerPool; 2],
    boxes: Arc<JobBoxes>,
    shadows: ShadowPools,
    /// Notified when slots have arrived.
    arrived: Notify,
    /// The number of jobs that were dropped between the pools.
    abandoned: AtomicU64,
    most_keys: Mutex<Option<usize>>,
}

impl Pools {
    /// The keyed and the actor pool, in this order. The actor pool owns the slots below `boundary`.
    /// At most `most_held` messages wait for slots that migrate.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(specs: [PoolSpec; 2], boundary: usize, most_held: usize) -> Self {
        let boxes = Arc::<JobBoxes>::default();
        let shadows = ShadowPools::new(specs.clone());
        let pools = specs.map(|spec| WorkerPool::new(spec, Arc::clone(&boxes)));
        let schedulers = pools.each_ref().map(|pool| Arc::clone(&pool.engine.scheduler));
        let router = SlotRouter::new(schedulers, boundary, most_held);
        let pair = PoolPair {
            router,
            pools,
            boxes,
            shadows,
            arrived: Notify::new(),
            abandoned: AtomicU64::new(0),
            most_keys: Mutex::new(None),
        };
        pair.start_owners(boundary);
        Self { pair: Arc::new(pair), stop: StopOnce::default() }
    }

    /// Assigns the slots below `boundary` to the actor pool and the others to the keyed pool.
    /// [`Pools::step`] migrates them.
    pub fn rebalance_to(&self, boundary: usize) {
        self.pair.start_owners(boundary);
        self.pair.router.rebalance_to(boundary);
        self.pair.limit_keys();
        self.pair.arrived.notify_waiters();
    }

    /// Advances all migrations as far as possible.
    pub fn step(&self) -> MigrationProgress {
        self.pair.step()
    }

    /// Returns migrating slots to their old owners.
    pub fn abort(&self, slots: &[usize]) {
        self.pair.router.abort(slots);
        self.pair.arrived.notify_waiters();
    }

    /// The index of the pool that runs the running message of a key hash.
    #[must_use]
    pub fn runs_at(&self, lane: u64) -> usize {
        self.pair.router.runs_at(lane)
    }

    /// Runs a job as a shadow, in a separate pool of the kind that does not own its slot. Never
    /// waits. Returns `false` and drops the job when there is no room, when the slot migrates, and
    /// after the stop. The counters of these pools do not include the job.
    #[must_use]
    pub fn try_shadow(&self, job: Job) -> bool {
        let owner = self.pair.router.owner(job.lane);
        owner.is_some_and(|owner| self.pair.shadows.try_submit(1 - owner, job))
    }

    /// Whether a slot has its intended owner.
    #[must_use]
    pub fn is_settled(&self, slot: usize) -> bool {
        self.pair.router.is_settled(slot)
    }

    /// Counts the slots with each owner, and in migration.
    #[must_use]
    pub fn counts(&self) -> SlotCounts {
        self.pair.router.counts()
    }

    /// The counters and latencies of one pool; `None` before it has started.
    #[must_use]
    pub fn pool(&self, index: usize) -> Option<(PoolStats, Latencies)> {
        let pool = &self.pair.pools[index];
        pool.is_started().then(|| (pool.engine.stats(), pool.engine.latencies()))
    }
}

impl PoolPair {
    /// Starts the pools that own slots at this boundary.
    fn start_owners(&self, boundary: usize) {
        if boundary < crate::SLOTS {
            self.pools[KEYED].start();
        }
        if boundary > 0 {
            self.pools[ACTOR].start();
        }
    }

    fn started(&self) -> impl Iterator<Item = &WorkerPool> {
        self.pools.iter().filter(|pool| pool.is_started())
    }

    fn step(&self) -> MigrationProgress {
        let progress = self.router.step();
        if progress.arrived > 0 {
            self.arrived.notify_waiters();
        }
        progress
    }

    /// Gives each pool its share of the limit of active keys.
    fn limit_keys(&self) {
        let most = *self.most_keys.lock();
        let counts = self.router.counts();
        let all: usize = counts.at.iter().sum::<usize>().max(1);
        for (owned, pool) in counts.at.iter().zip(&self.pools) {
            pool.limit_keys(most.map(|keys| (keys * owned).div_ceil(all).max(1)));
        }
    }

    fn stats(&self) -> PoolStats {
        let mut sum = PoolStats::default();
        for pool in self.started() {
            sum += pool.stats();
        }
        let held = self.router.counts().held;
        let abandoned = self.abandoned.load(Relaxed);
        // A migrated job was accepted by both pools and counts once.
        sum.accepted = (sum.accepted + held as u64 + abandoned).saturating_sub(sum.moved);
        sum.open += held;
        sum.abandoned += abandoned;
        sum
    }

    /// Stops both pools after the router was closed. First the migrations end, because a stopping
    /// pool accepts no job.
    async fn stop(&self, begun: Instant, before: PoolStats, deadline: Duration) -> StopReport {
        let until = begun + deadline;
        let mut pause = PAUSE.0;
        while self.router.counts().moving > 0 && Instant::now() < until {
            self.step();
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        let left = self.router.abandon();
        self.abandoned.fetch_add(left.len() as u64, Relaxed);
        let mut report = StopReport { abandoned: left.len() as u64, ..StopReport::default() };
        drop(left);
        let left = until.saturating_duration_since(Instant::now());
        let [keyed, actor] = &self.pools;
        let (keyed, actor) = tokio::join!(keyed.stop(left), actor.stop(left));
        report.finished = ended(&self.stats()) - ended(&before);
        for pool in [keyed, actor] {
            report.abandoned += pool.abandoned;
            report.stragglers += pool.stragglers;
        }
        report.elapsed = begun.elapsed();
        report
    }
}

impl Target for PoolPair {
    fn take(&self, batch: &mut VecDeque<Job>) -> Result<bool, SubmitRefusal> {
        let [keyed, _] = &self.pools;
        let mut orphans = stamp(batch, keyed.engine.default_handler.is_some());
        let taken = self.router.submit_as(batch, self.boxes.packer(keyed.engine.now()));
        let left = batch.len();
        batch.append(&mut orphans);
        let error = match taken {
            Ok(_) if !batch.is_empty() => keyed.engine.no_handler(),
            Ok(makes_sense) => return Ok(makes_sense),
            Err(RouterRefusal::By(by, refusal)) => {
                let error = self.pools[by].engine.error(refusal, left);
                return Err(SubmitRefusal { by: Some(by), error });
            }
            Err(RouterRefusal::Closed) => SubmitError::Stopped,
            Err(RouterRefusal::Migrating) => {
                let PoolStats { open, failing, open_bytes, .. } = self.stats();
                SubmitError::PoolFull { messages: open - failing, bytes: open_bytes }
            }
        };
        Err(SubmitRefusal { by: None, error })
    }

    fn engines(&self) -> [Option<&Engine>; 2] {
        self.pools.each_ref().map(|pool| pool.is_started().then_some(&*pool.engine))
    }

    fn arrived(&self) -> Option<&Notify> {
        Some(&self.arrived)
    }
}

impl Pool for Pools {
    /// The name of the pool that owns all slots; `split` while each owns some.
    fn name(&self) -> &'static str {
        self.pair.router.sole_owner().map_or("split", |owner| self.pair.pools[owner].name())
    }

    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.pair.take(batch).map(drop).map_err(|refused| refused.error)
    }

    fn submit<'a>(
        &'a self,
        batch: &'a mut VecDeque<Job>,
    ) -> BoxFuture<'a, Result<(), SubmitError>> {
        let owner = self.pair.router.sole_owner().unwrap_or(KEYED);
        let timeout = sleep(self.pair.pools[owner].wait_timeout);
        Box::pin(submit(&*self.pair, batch, timeout))
    }

    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.pair.shadows.purge(matches);
        self.pair.router.purge(&|boxed| boxed.as_job().is_some_and(matches)).len()
    }

    fn limit_keys(&self, most: Option<usize>) {
        *self.pair.most_keys.lock() = most;
        self.pair.limit_keys();
    }

    fn lane(&self, lane: u64) -> Option<LaneState> {
        match self.pair.router.owner(lane) {
            Some(owner) => self.pair.pools[owner].lane(lane),
            None => self.pair.started().find_map(|pool| pool.lane(lane)),
        }
    }

    fn running(&self) -> Vec<RunningJob> {
        let mut running = Vec::new();
        let mut workers = 0;
        for pool in self.pair.started() {
            running.extend(
                pool.running()
                    .into_iter()
                    .map(|job| RunningJob { worker: job.worker + workers, ..job }),
            );
            workers += pool.engine.workers();
        }
        running
    }

    fn stats(&self) -> PoolStats {
        self.pair.stats()
    }

    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport> {
        self.stop.run(|| {
            let pair = Arc::clone(&self.pair);
            let (begun, before) = (Instant::now(), pair.stats());
            pair.router.close();
            if pair.router.counts().moving == 0 {
                // Without migrations both pools close at once, so that no retry begins from here
                // on.
                for pool in &pair.pools {
                    drop(pool.stop(deadline));
                }
            }
            pair.arrived.notify_waiters();
            async move {
                let stopped = pair.stop(begun, before, deadline);
                let (report, ()) = tokio::join!(stopped, pair.shadows.stop());
                report
            }
        })
    }
}
