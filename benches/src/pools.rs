//! Jobs through a pool, and through the least that could do the same: a bounded channel for each of
//! 256 tasks.

use crate::{Cost, Jobs, Keys, noop};
use buslane_actor::ActorPoolConfig;
use buslane_core::{ErasedHandler, Job, Kind, Outcome, Pool};
use buslane_keyed::{KeyedPoolConfig, Mode};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, sync::mpsc};

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
