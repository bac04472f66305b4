//! Both pools of a bus as one: each hash slot is owned by one of them, and can migrate to the other
//! while messages flow.

use crate::{
    Engine, Progress, SlotCounts,
    job_box::{JobBox, JobBoxes},
    shadows::ShadowPools,
    stop::{StopOnce, ended},
    submit::{Refused, Target, stamp, submit},
    worker_pool::{PoolSpec, WorkerPool},
};
use buslane_core::{
    BoxFuture, Job, LaneState, Latencies, Pool, PoolStats, RunningJob, StopReport, SubmitError,
};
use buslane_lanes::{Refused as RouterRefused, SlotRouter};
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

/// First and longest pause before the next look at messages that keep a slot from arriving.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// A keyed pool and an actor pool that share the keys. A pool is started before it owns its first
/// slot, and runs until the stop.
///
/// # Drop behaviour
/// As that of the pools; messages between them are abandoned.
pub struct Pools {
    shared: Arc<Shared>,
    stop: StopOnce,
}

struct Shared {
    router: SlotRouter<JobBox>,
    pools: [WorkerPool; 2],
    boxes: Arc<JobBoxes>,
    shadows: ShadowPools,
    /// Slots have arrived.
    arrived: Notify,
    /// Jobs that were dropped between the pools.
    abandoned: AtomicU64,
    most_keys: Mutex<Option<usize>>,
}

impl Pools {
    /// The keyed and the actor pool; the latter owns the slots below `boundary`. At most
    /// `most_held` messages wait for slots that migrate.
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
        let shared = Shared {
            router,
            pools,
            boxes,
            shadows,
            arrived: Notify::new(),
            abandoned: AtomicU64::new(0),
            most_keys: Mutex::new(None),
        };
        shared.start_owners(boundary);
        Self { shared: Arc::new(shared), stop: StopOnce::default() }
    }

    /// Gives the slots below `boundary` to the actor pool. [`Pools::step`] migrates them.
    pub fn rebalance_to(&self, boundary: usize) {
        self.shared.start_owners(boundary);
        self.shared.router.rebalance_to(boundary);
        self.shared.limit_keys();
        self.shared.arrived.notify_waiters();
    }

    /// Migrates what can be migrated now.
    pub fn step(&self) -> Progress {
        self.shared.step()
    }

    /// Leaves slots that wait where they are.
    pub fn abort(&self, slots: &[usize]) {
        self.shared.router.abort(slots);
        self.shared.arrived.notify_waiters();
    }

    /// The pool that runs the messages of a key hash.
    #[must_use]
    pub fn runs_at(&self, lane: u64) -> usize {
        self.shared.router.runs_at(lane)
    }

    /// Runs a job beside the messages, by the kind of pool that does not run its key at this
    /// moment. Never waits; returns `false` and drops the job when there is no room, when its slot
    /// migrates, and after the stop. The job is in no figure of these pools.
    #[must_use]
    pub fn try_shadow(&self, job: Job) -> bool {
        let owner = self.shared.router.owner(job.lane);
        owner.is_some_and(|owner| self.shared.shadows.try_submit(1 - owner, job))
    }

    /// Whether a slot has the owner that it should have.
    #[must_use]
    pub fn is_settled(&self, slot: usize) -> bool {
        self.shared.router.is_settled(slot)
    }

    /// How many slots are where.
    #[must_use]
    pub fn counts(&self) -> SlotCounts {
        self.shared.router.counts()
    }

    /// Figures of one pool; none before it is started.
    #[must_use]
    pub fn pool(&self, index: usize) -> Option<(PoolStats, Latencies)> {
        let pool = &self.shared.pools[index];
        pool.is_started().then(|| (pool.engine.stats(), pool.engine.latencies()))
    }
}

impl Shared {
    /// Starts the pools that own slots with this boundary.
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

    fn step(&self) -> Progress {
        let progress = self.router.step();
        if progress.arrived > 0 {
            self.arrived.notify_waiters();
        }
        progress
    }

    /// Gives each pool its share of the keys.
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
        // A job that has migrated was accepted once.
        sum.accepted = (sum.accepted + held as u64 + abandoned).saturating_sub(sum.moved);
        sum.open += held;
        sum.abandoned += abandoned;
        sum
    }

    /// Stops both pools after the router was closed. What migrates arrives first: a pool that stops
    /// takes it no more.
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

impl Target for Shared {
    fn take(&self, batch: &mut VecDeque<Job>) -> Result<bool, Refused> {
        let [keyed, _] = &self.pools;
        let mut orphans = stamp(batch, keyed.engine.default_handler.is_some());
        let taken = self.router.submit_as(batch, self.boxes.packer(keyed.engine.now()));
        let left = batch.len();
        batch.append(&mut orphans);
        let error = match taken {
            Ok(_) if !batch.is_empty() => keyed.engine.no_handler(),
            Ok(makes_sense) => return Ok(makes_sense),
            Err(RouterRefused::By(by, refusal)) => {
                let error = self.pools[by].engine.error(refusal, left);
                return Err(Refused { by: Some(by), error });
            }
            Err(RouterRefused::Closed) => SubmitError::Stopped,
            Err(RouterRefused::Migrating) => {
                let PoolStats { open, parked, open_bytes, .. } = self.stats();
                SubmitError::PoolFull { messages: open - parked, bytes: open_bytes }
            }
        };
        Err(Refused { by: None, error })
    }

    fn engines(&self) -> [Option<&Engine>; 2] {
        self.pools.each_ref().map(|pool| pool.is_started().then_some(&*pool.engine))
    }

    fn arrived(&self) -> Option<&Notify> {
        Some(&self.arrived)
    }
}

impl Pool for Pools {
    /// The pool that owns every slot; `split` while both own some.
    fn name(&self) -> &'static str {
        self.shared.router.sole_owner().map_or("split", |owner| self.shared.pools[owner].name())
    }

    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.shared.take(batch).map(drop).map_err(|refused| refused.error)
    }

    fn submit<'a>(
        &'a self,
        batch: &'a mut VecDeque<Job>,
    ) -> BoxFuture<'a, Result<(), SubmitError>> {
        let owner = self.shared.router.sole_owner().unwrap_or(KEYED);
        let timeout = sleep(self.shared.pools[owner].wait_timeout);
        Box::pin(submit(&*self.shared, batch, timeout))
    }

    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.shared.shadows.purge(matches);
        self.shared.router.purge(&|boxed| boxed.as_job().is_some_and(matches)).len()
    }

    fn limit_keys(&self, most: Option<usize>) {
        *self.shared.most_keys.lock() = most;
        self.shared.limit_keys();
    }

    fn lane(&self, lane: u64) -> Option<LaneState> {
        match self.shared.router.owner(lane) {
            Some(owner) => self.shared.pools[owner].lane(lane),
            None => self.shared.started().find_map(|pool| pool.lane(lane)),
        }
    }

    fn running(&self) -> Vec<RunningJob> {
        let mut running = Vec::new();
        let mut workers = 0;
        for pool in self.shared.started() {
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
        self.shared.stats()
    }

    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport> {
        self.stop.run(|| {
            let shared = Arc::clone(&self.shared);
            let (begun, before) = (Instant::now(), shared.stats());
            shared.router.close();
            if shared.router.counts().moving == 0 {
                // Nothing has to arrive first: from here on no retry begins.
                for pool in &shared.pools {
                    drop(pool.stop(deadline));
                }
            }
            shared.arrived.notify_waiters();
            async move {
                let stopped = shared.stop(begun, before, deadline);
                let (report, ()) = tokio::join!(stopped, shared.shadows.stop());
                report
            }
        })
    }
}
