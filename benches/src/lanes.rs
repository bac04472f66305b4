//! The scheduler alone: small messages, workers that do nothing with them.

use crate::{Cost, SplitMix64};
use buslane_lanes::{Bounds, End, Ended, Item, Mode, Next, Scheduler, WaitFor};
use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};
use tokio::{runtime::Runtime, task};

/// A message of 16 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Small {
    /// Hash of its key.
    pub lane: u64,
    /// What it carries.
    pub number: u64,
}

impl Item for Small {
    fn lane(&self) -> u64 {
        self.lane
    }
    fn bytes(&self) -> usize {
        16
    }
}

/// The load of the scheduler.
#[derive(Debug, Clone, Copy)]
pub struct LaneLoad {
    /// Messages.
    pub messages: u64,
    /// Different keys; each message's is drawn at random.
    pub keys: u64,
    /// Messages a submission.
    pub batch: u64,
    /// How keys find their lane.
    pub mode: Mode,
}

/// Messages after which a worker lets the executor run something else.
const SLICE: u64 = 1024;

impl LaneLoad {
    /// Runs it with 256 workers.
    ///
    /// # Panics
    /// When a worker does.
    #[must_use]
    pub fn run(&self, runtime: &Runtime) -> Cost {
        let scheduler =
            Arc::new(Scheduler::<Small>::new(256, 2, self.mode, 16, Bounds::default(), ()));
        let workers: Vec<_> =
            (0..256).map(|index| runtime.spawn(work(Arc::clone(&scheduler), index))).collect();
        let submit = submit(*self, scheduler);
        let run = || {
            runtime.block_on(async {
                task::spawn(submit).await.expect("the submitter ends");
                for worker in workers {
                    worker.await.expect("the workers end");
                }
            });
        };
        Cost::of(self.messages, run).0
    }

    /// The minimum that keeps the order of each key: a map of queues on one thread, filled and
    /// emptied in batches.
    #[must_use]
    pub fn run_map_of_queues(&self) -> Cost {
        let (mut queues, mut order) =
            (HashMap::<u64, VecDeque<Small>, BuildHasherDefault<AsIs>>::default(), Vec::new());
        let mut sum = 0_u64;
        let run = || {
            self.batches(|batch| {
                for small in batch.drain(..) {
                    queues.entry(small.lane).or_default().push_back(small);
                    order.push(small.lane);
                }
                for lane in order.drain(..) {
                    let next = queues.get_mut(&lane).and_then(VecDeque::pop_front);
                    sum = sum.wrapping_add(next.map_or(0, |small| small.number));
                }
            });
            std::hint::black_box(sum)
        };
        Cost::of(self.messages, run).0
    }

    fn batches(&self, mut each: impl FnMut(&mut VecDeque<Small>)) {
        let (mut batch, mut random) = (VecDeque::new(), SplitMix64(1));
        let mut first = 0;
        while first < self.messages {
            let end = self.messages.min(first + self.batch);
            batch.extend((first..end).map(|number| self.small(&mut random, number)));
            first = end;
            each(&mut batch);
        }
    }

    const fn small(&self, random: &mut SplitMix64, number: u64) -> Small {
        Small { lane: SplitMix64(random.below(self.keys)).number(), number }
    }
}

async fn submit(load: LaneLoad, scheduler: Arc<Scheduler<Small>>) {
    let (mut batch, mut random, mut ticket) = (VecDeque::new(), SplitMix64(1), None);
    let mut first = 0;
    while first < load.messages {
        let end = load.messages.min(first + load.batch);
        batch.extend((first..end).map(|number| load.small(&mut random, number)));
        first = end;
        while !batch.is_empty() {
            poll_fn(|cx| scheduler.poll_capacity(cx, WaitFor::Drain, &mut ticket)).await;
            if scheduler.submit(&mut batch).is_err() {
                let lane = batch[0].lane;
                poll_fn(|cx| {
                    scheduler.poll_capacity(cx, WaitFor::Room { lane, bytes: 16 }, &mut ticket)
                })
                .await;
            }
        }
    }
    scheduler.close();
}

async fn work(scheduler: Arc<Scheduler<Small>>, index: usize) {
    let (mut ended, mut sum, mut until_yield) = (None, 0_u64, SLICE);
    while let Next::Run { lane, item, yield_first, .. } =
        poll_fn(|cx| scheduler.poll_next(index, cx, &mut ended)).await
    {
        until_yield -= 1;
        if yield_first || until_yield == 0 {
            until_yield = SLICE;
            task::yield_now().await;
        }
        sum = sum.wrapping_add(item.number);
        ended = Some(Ended { lane, bytes: 16, end: End::Ok });
    }
    std::hint::black_box(sum);
}

/// Keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
