//! Jobs through a pool, and through the least that could do the same: a bounded channel for each of
//! 256 tasks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use buslane_actor::ActorPoolConfig;
use buslane_core::{ErasedHandler, Job, Kind, Outcome, Pool, Settle, Settlement};
use buslane_keyed::{KeyedPoolConfig, Mode};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Cost, Jobs, Keys, noop};

/// Makes a pool of 256 workers, inside of a runtime.
pub type MakePool = dyn Fn(Mode) -> Arc<dyn Pool>;

/// The keyed pool, with a default handler that does nothing.
#[must_use]
pub fn keyed_pool(mode: Mode) -> Arc<dyn Pool> {
    let default_handler = Some(noop(Kind::Regular));
    Arc::new(KeyedPoolConfig { mode, default_handler, ..KeyedPoolConfig::default() }.start())
}

/// The actor pool, with a default handler that does nothing.
#[must_use]
pub fn actor_pool(mode: Mode) -> Arc<dyn Pool> {
    let default_handler = Some(noop(Kind::Regular));
    Arc::new(ActorPoolConfig { mode, default_handler, ..ActorPoolConfig::default() }.start())
}

/// What goes through a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLoad {
    /// Jobs.
    pub messages: u64,
    /// Their keys.
    pub keys: Keys,
    /// Jobs a submission.
    pub batch: u64,
    /// Where the random numbers start.
    pub seed: u64,
}

impl PoolLoad {
    /// Submits the jobs to a fresh pool, and stops it when all are taken: then all are done.
    ///
    /// # Panics
    /// When the pool refuses or loses a job.
    #[must_use]
    pub fn run(&self, runtime: &Runtime, make: &MakePool, mode: Mode) -> Cost {
        self.run_with(runtime, make, mode, None)
    }

    /// As [`PoolLoad::run`], with jobs that bring their own handler.
    ///
    /// # Panics
    /// When the pool refuses or loses a job.
    #[must_use]
    pub fn run_with(
        &self,
        runtime: &Runtime,
        make: &MakePool,
        mode: Mode,
        handler: Option<Arc<dyn ErasedHandler>>,
    ) -> Cost {
        let load = *self;
        let pool = {
            let _inside = runtime.enter();
            make(mode)
        };
        let submit = async move {
            load.submit(&*pool, handler).await;
            pool.stop(Duration::from_secs(60)).await;
            assert_eq!(pool.stats().ok, load.messages, "all jobs are done");
        };
        let (cost, ended) = Cost::of(self.messages, || runtime.block_on(runtime.spawn(submit)));
        ended.expect("the submitter ends");
        cost
    }

    /// The same jobs through as many pools as there are topics, each with its share of them.
    ///
    /// # Panics
    /// When a pool refuses or loses a job.
    #[must_use]
    pub fn run_apart(&self, runtime: &Runtime, make: &MakePool, topics: u64) -> Cost {
        let share = Self { messages: self.messages / topics, ..*self };
        let pools: Vec<_> = {
            let _inside = runtime.enter();
            (0..topics).map(|_| make(Mode::Exclusive)).collect()
        };
        let submit = async move {
            let one = |pool: Arc<dyn Pool>| async move {
                share.submit(&*pool, None).await;
                pool.stop(Duration::from_secs(60)).await;
                assert_eq!(pool.stats().ok, share.messages, "all jobs are done");
            };
            pools.into_iter().map(one).collect::<JoinSet<()>>().join_all().await;
        };
        let (cost, ended) =
            Cost::of(share.messages * topics, || runtime.block_on(runtime.spawn(submit)));
        ended.expect("the submitters end");
        cost
    }

    /// Submits the jobs, for `handler` or else for the pool's default one.
    ///
    /// # Panics
    /// When the pool refuses one for good.
    pub async fn submit(self, pool: &dyn Pool, handler: Option<Arc<dyn ErasedHandler>>) {
        let mut jobs = Jobs::new(self.keys, self.seed);
        let mut batch = VecDeque::new();
        let mut left = self.messages;
        while left > 0 {
            let count = left.min(self.batch);
            batch.extend((0..count).map(|_| {
                let mut job = jobs.job();
                job.handler.clone_from(&handler);
                job
            }));
            left -= count;
            while !batch.is_empty() {
                if let Err(error) = pool.submit(&mut batch).await {
                    assert!(error.is_temporary(), "{error}");
                }
            }
        }
    }

    /// Submits the jobs at once, without waiting for room.
    ///
    /// # Panics
    /// When the pool refuses one.
    pub fn try_submit(self, pool: &dyn Pool, handler: &Arc<dyn ErasedHandler>) {
        let mut jobs = Jobs::new(self.keys, self.seed);
        let (mut batch, mut left) = (VecDeque::new(), self.messages);
        while left > 0 {
            let count = left.min(self.batch);
            batch.extend((0..count).map(|_| jobs.job().with_handler(Arc::clone(handler))));
            left -= count;
            pool.try_submit(&mut batch).expect("room for the job");
        }
    }

    /// The same through bare channels: 256 tasks with 1,000 places each.
    ///
    /// # Panics
    /// When a task does.
    #[must_use]
    pub fn run_channels(&self, runtime: &Runtime) -> Cost {
        let load = *self;
        let (senders, tasks): (Vec<_>, Vec<_>) = (0..256)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(1_000);
                (sender, runtime.spawn(receive(receiver)))
            })
            .unzip();
        let submit = async move {
            let mut jobs = Jobs::new(load.keys, load.seed);
            for _ in 0..load.messages {
                let job = jobs.job();
                let slot = usize::try_from(job.lane % 256).expect("below 256");
                assert!(senders[slot].send(job).await.is_ok(), "the tasks live");
            }
            drop(senders);
            for ended in tasks {
                ended.await.expect("the task ends");
            }
        };
        let (cost, ended) = Cost::of(self.messages, || runtime.block_on(runtime.spawn(submit)));
        ended.expect("the submitter ends");
        cost
    }
}

async fn receive(mut receiver: mpsc::Receiver<Job>) {
    while let Some(job) = receiver.recv().await {
        job.settlement.settle(Outcome::Ok);
    }
}

/// What arrives.
#[derive(Clone)]
pub struct PacedLoad {
    /// Time between two bursts.
    pub every: Duration,
    /// Bursts.
    pub bursts: usize,
    /// Jobs a burst.
    pub burst: usize,
    /// Different keys; each job's is drawn at random.
    pub keys: u64,
    /// Who handles them, in turn.
    pub handlers: Vec<Arc<dyn ErasedHandler>>,
    /// A handler of one key more, which gets one job each 64 bursts. Its jobs are not measured.
    pub slow: Option<Arc<dyn ErasedHandler>>,
    /// Where the random numbers start.
    pub seed: u64,
}

/// When each job was accepted, then how long it took; in nanoseconds.
struct Log {
    epoch: Instant,
    times: Vec<AtomicU64>,
    done: AtomicUsize,
}

impl Log {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Settle for Log {
    fn settle(&self, token: u64, _: Outcome) {
        let time = &self.times[usize::try_from(token).expect("a job's number")];
        time.store(self.now() - time.load(Relaxed), Relaxed);
        self.done.fetch_add(1, Relaxed);
    }
}

impl PacedLoad {
    /// Runs it and returns how long each job took, from its submission to its settlement, in
    /// nanoseconds.
    ///
    /// # Panics
    /// When the pool refuses a job.
    pub async fn run(self, pool: &dyn Pool) -> Vec<u64> {
        let count = self.bursts * self.burst;
        let times = (0..count).map(|_| AtomicU64::new(0)).collect();
        let log = Arc::new(Log { epoch: Instant::now(), times, done: AtomicUsize::new(0) });
        let sink: Arc<dyn Settle> = Arc::clone(&log) as Arc<dyn Settle>;
        let (mut jobs, mut batch) =
            (Jobs::new(Keys::Random(self.keys), self.seed), VecDeque::new());
        let mut clock = interval(self.every);
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for burst in 0..self.bursts {
            clock.tick().await;
            if let Some(slow) = &self.slow
                && burst % 64 == 0
            {
                let mut job = jobs.job().with_handler(Arc::clone(slow));
                job.lane = 1;
                batch.push_back(job);
            }
            for number in burst * self.burst..(burst + 1) * self.burst {
                let mut job = jobs
                    .job()
                    .with_handler(Arc::clone(&self.handlers[number % self.handlers.len()]));
                job.settlement = Settlement::new(Arc::clone(&sink), number as u64);
                log.times[number].store(log.now(), Relaxed);
                batch.push_back(job);
            }
            pool.try_submit(&mut batch).expect("the pool has room for the load");
        }
        while log.done.load(Relaxed) < count {
            clock.tick().await;
        }
        log.times.iter().map(|time| time.load(Relaxed)).collect()
    }
}
