//! Jobs that look to a pool like those of a bus, handlers for them, and repeatable random numbers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use buslane_core::{
    AttemptSlot, ErasedHandler, Job, Kind, Message, Settlement, Step, Topic, erase,
};
use bytes::Bytes;

use super::Cost;

/// A handler that does nothing.
#[must_use]
pub fn noop(kind: Kind) -> Arc<dyn ErasedHandler> {
    erase(kind, async |_: Message| {})
}

/// A handler that yields once and does nothing else.
#[must_use]
pub fn yielding(kind: Kind) -> Arc<dyn ErasedHandler> {
    erase(kind, async |_: Message| tokio::task::yield_now().await)
}

/// Time that handlers took, as they saw it.
#[derive(Debug, Default)]
pub struct HandlerClock {
    nanoseconds: AtomicU64,
    calls: AtomicU64,
}

impl HandlerClock {
    /// Takes the time since a call began.
    pub fn record(&self, start: Instant) {
        self.nanoseconds.fetch_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(0), Relaxed);
        self.calls.fetch_add(1, Relaxed);
    }

    /// The mean of all calls.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Relaxed) / self.calls.load(Relaxed).max(1))
    }
}

/// A handler that waits for this time, and a clock of the time that it took.
#[must_use]
pub fn waiting(time: Duration) -> (Arc<dyn ErasedHandler>, Arc<HandlerClock>) {
    let clock = Arc::new(HandlerClock::default());
    let log = Arc::clone(&clock);
    let handler = erase(Kind::Regular, move |_: Message| {
        let log = Arc::clone(&log);
        async move {
            let start = Instant::now();
            tokio::time::sleep(time).await;
            log.record(start);
        }
    });
    (handler, clock)
}

/// The cost of a handler that does nothing: jobs are made, handled and dropped in one loop.
#[must_use]
pub fn handler_alone(messages: u64) -> Cost {
    let (handler, mut slot, mut jobs) =
        (noop(Kind::Regular), AttemptSlot::new(), Jobs::new(Keys::InTurn(1), 1));
    let mut cx = Context::from_waker(Waker::noop());
    let run = || {
        for _ in 0..messages {
            let mut job = jobs.job();
            handler.start(&mut job, &mut slot);
            if let Poll::Ready(Step::Done(outcome)) = slot.poll(&mut cx) {
                job.settlement.settle(outcome);
            }
        }
    };
    Cost::of(messages, run).0
}

/// An endless source of jobs for the pool's default handler, without a settlement.
#[derive(Debug)]
pub struct Jobs {
    template: Message,
    keys: Keys,
    random: SplitMix64,
    offset: u64,
}

/// How a job gets its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Drawn from so many.
    Random(u64),
    /// So many, one after the other.
    InTurn(u64),
}

impl Jobs {
    /// Jobs with such keys; `seed` is where the random numbers start.
    ///
    /// # Panics
    /// Never: the topic's name is good.
    #[must_use]
    pub fn new(keys: Keys, seed: u64) -> Self {
        let mut template =
            Message::new(Topic::new("orders").expect("a good name"), Bytes::from_static(&[7; 100]));
        template.key = Some(Bytes::from_static(b"order-42"));
        Self { template, keys, random: SplitMix64(seed), offset: 0 }
    }

    /// The next job.
    pub fn job(&mut self) -> Job {
        let key = match self.keys {
            Keys::Random(keys) => self.random.below(keys),
            Keys::InTurn(keys) => self.offset % keys,
        };
        let lane = SplitMix64(key).number();
        let mut message = self.template.clone();
        message.offset = self.offset;
        self.offset += 1;
        Job::new(lane, message, Settlement::ignored())
    }
}

/// The generator of Steele, Lea and Flood (2014).
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}
