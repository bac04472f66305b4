//! An open loop: jobs arrive at a fixed rate, whatever becomes of them. What counts is how long
//! each takes.

use crate::{Jobs, Keys};
use buslane_core::{ErasedHandler, Outcome, Pool, Settle, Settlement};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

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
