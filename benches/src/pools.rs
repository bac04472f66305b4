//! Jobs through a pool, and through the least that could do the same: a bounded channel for each of 256 tasks.

use crate::{Cost, Jobs};
use buslane_core::{Job, Outcome, Pool};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, sync::mpsc};

/// What goes through a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLoad {
    /// Jobs.
    pub messages: u64,
    /// Different keys; each job's is drawn at random.
    pub keys: u64,
    /// Jobs a submission.
    pub batch: usize,
}

impl PoolLoad {
    /// Submits the jobs to a fresh pool, and stops it when all are taken: then all are done.
    ///
    /// # Panics
    /// When the pool refuses or loses a job.
    pub fn run(&self, runtime: &Runtime, pool: impl FnOnce() -> Arc<dyn Pool>) -> Cost {
        let load = *self;
        let pool = runtime.block_on(async { pool() });
        let submit = async move {
            let mut jobs = Jobs::new(load.keys, 1);
            let mut batch = VecDeque::with_capacity(load.batch);
            let mut left = load.messages;
            while left > 0 {
                batch.extend(jobs.by_ref().take(load.batch.min(usize::try_from(left).unwrap_or(usize::MAX))));
                left -= batch.len() as u64;
                while !batch.is_empty() {
                    if let Err(error) = pool.submit(&mut batch).await {
                        assert!(error.is_temporary(), "{error}");
                    }
                }
            }
            pool.stop(Duration::from_secs(60)).await;
            assert_eq!(pool.stats().ok, load.messages);
        };
        let (cost, ended) = Cost::of(self.messages, || runtime.block_on(runtime.spawn(submit)));
        ended.expect("all jobs are done");
        cost
    }

    /// The same through bare channels: 256 tasks with 1,000 places each.
    ///
    /// # Panics
    /// When a task does.
    pub fn run_channels(&self, runtime: &Runtime) -> Cost {
        let load = *self;
        let (senders, tasks): (Vec<_>, Vec<_>) = (0..256)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(1_000);
                (sender, runtime.spawn(receive(receiver)))
            })
            .unzip();
        let submit = async move {
            for job in Jobs::new(load.keys, 1).take(usize::try_from(load.messages).unwrap_or(usize::MAX)) {
                let slot = usize::try_from(job.lane % 256).unwrap_or(0);
                assert!(senders[slot].send(job).await.is_ok(), "the tasks live");
            }
            drop(senders);
            for ended in tasks {
                ended.await.expect("the task ends");
            }
        };
        let (cost, ended) = Cost::of(self.messages, || runtime.block_on(runtime.spawn(submit)));
        ended.expect("all jobs are done");
        cost
    }

    /// What making and dropping the jobs costs, without any hop.
    #[must_use]
    pub fn run_making(&self) -> Cost {
        let jobs = Jobs::new(self.keys, 1).take(usize::try_from(self.messages).unwrap_or(usize::MAX));
        Cost::of(self.messages, || jobs.for_each(|job| drop(std::hint::black_box(job)))).0
    }
}

async fn receive(mut receiver: mpsc::Receiver<Job>) {
    while let Some(job) = receiver.recv().await {
        job.settlement.settle(Outcome::Ok);
    }
}
