//! The scheduler alone: small messages, workers that do nothing with them.

use crate::{Cost, SplitMix64};
use buslane_lanes::{Bounds, End, Ended, Item, Mode, Next, Scheduler};
use std::{collections::VecDeque, future::poll_fn, sync::Arc};
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

/// What goes through the scheduler.
#[derive(Debug, Clone, Copy)]
pub struct LaneLoad {
    /// Messages.
    pub messages: u64,
    /// Different keys; each message's is drawn at random.
    pub keys: u64,
    /// Messages a submission.
    pub batch: usize,
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
    pub fn run(&self, runtime: &Runtime) -> Cost {
        let bounds = Bounds { lane_messages: 256_000, ..Bounds::default() };
        let scheduler = Arc::new(Scheduler::<Small>::new(256, 2, self.mode, 16, bounds, ()));
        let workers: Vec<_> = (0..256).map(|index| runtime.spawn(work(Arc::clone(&scheduler), index))).collect();
        let load = *self;
        let (cost, ()) = Cost::of(self.messages, || {
            runtime.block_on(async {
                let submitter = task::spawn(load.submit(Arc::clone(&scheduler)));
                submitter.await.expect("the submitter ends");
                for worker in workers {
                    worker.await.expect("the workers end");
                }
            });
        });
        cost
    }

    async fn submit(self, scheduler: Arc<Scheduler<Small>>) {
        let (mut batch, mut random) = (VecDeque::with_capacity(self.batch), SplitMix64(1));
        let mut number = 0;
        while number < self.messages {
            let end = self.messages.min(number + self.batch as u64);
            batch.extend(
                (number..end).map(|number| Small { lane: SplitMix64(random.below(self.keys)).number(), number }),
            );
            number = end;
            while !batch.is_empty() {
                let mut ticket = None;
                poll_fn(|cx| scheduler.poll_turn(cx, &mut ticket)).await;
                if scheduler.submit(&mut batch).is_err() {
                    let lane = batch[0].lane;
                    poll_fn(|cx| scheduler.poll_room(cx, lane, 16, &mut ticket)).await;
                }
            }
        }
        scheduler.close();
    }
}

async fn work(scheduler: Arc<Scheduler<Small>>, index: usize) {
    let (mut ended, mut sum, mut until_yield) = (None, 0_u64, SLICE);
    while let Next::Run { lane, item, yield_first, .. } = poll_fn(|cx| scheduler.poll_next(index, cx, &mut ended)).await
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
