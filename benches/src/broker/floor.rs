//! A broker's client alone, which is the limit of what a bus can do on it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use buslane::config::{ActorPoolConfig, KeyedPoolConfig};
use buslane::{Config, Record};
use buslane_core::BoxFuture;
use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::Cost;

/// The client of one broker, with the settings that the bus gives it where they decide how fast it
/// is.
///
/// # Panics
/// All of it panics when the broker refuses, or messages do not come.
pub trait Floor: Debug {
    /// The broker's URL.
    fn url(&self) -> String;

    /// The settings of the pools of a bus on this broker.
    fn pools<'a>(
        &self,
        config: &'a mut Config,
    ) -> (&'a mut KeyedPoolConfig, &'a mut ActorPoolConfig);

    /// Makes a topic.
    fn create(&self, runtime: &Runtime, topic: &str, partitions: u32);

    /// Publishes records to a topic and waits for all acknowledgements.
    fn fill(&self, runtime: &Runtime, topic: &str, records: &mut dyn Iterator<Item = Record>);

    /// Deletes a topic. The broker may be the user's own; a topic left behind is no reason to fail.
    fn delete(&self, runtime: &Runtime, topic: &str);

    /// Takes `messages` messages of a topic, and settles them where that is done one by one;
    /// measured from the first one.
    fn read(&self, runtime: &Runtime, topic: &str, messages: u64) -> Cost;

    /// The bodies of all messages that a topic holds.
    fn stored(&self, runtime: &Runtime, topic: &str, partitions: u32) -> Vec<Bytes>;

    /// How many different records the publishing of `messages` takes, one more included: a broker
    /// that knows event ids stores each once.
    fn different(&self, messages: u64) -> u64;

    /// Publishes `messages` records.
    fn publish(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost;

    /// Tells `log` of each message of a topic, and publishes to it.
    fn echo(&self, runtime: &Runtime, topic: &str, log: &Arc<Arrivals>) -> Echo;
}

/// How records are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// The next one after the acknowledgement of the one before.
    Single,
    /// Two publishers, each one by one.
    Two,
    /// Four publishers, each one by one.
    Four,
    /// Eight publishers, each one by one.
    Eight,
    /// 1,000 publishers, each one by one.
    Flight,
    /// Four publishers of batches of 2,500.
    Batch,
}

/// A consumer that reports each message, and a publisher to its topic.
pub struct Echo {
    /// Publishes one body and waits for the acknowledgement.
    pub publish: Box<dyn Fn(Vec<u8>) -> BoxFuture<'static, ()> + Send>,
    /// Ends the consumer.
    pub end: Box<dyn FnOnce()>,
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Echo")
    }
}

/// Bytes of a body; the first eight are its number.
const BODY: usize = 247;
/// Messages before the measurement, for connections and memory to be there.
const WARM_UP: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Publish and arrival times of messages, in nanoseconds.
#[derive(Debug)]
pub struct Arrivals {
    epoch: Instant,
    times: Vec<(AtomicU64, AtomicU64)>,
}

impl Arrivals {
    /// For this many messages after the warm-up.
    #[must_use]
    pub fn new(messages: usize) -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            times: (0..messages + WARM_UP).map(|_| Default::default()).collect(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The messages to publish, those of the warm-up too.
    pub fn numbers(&self) -> std::ops::Range<usize> {
        0..self.times.len()
    }

    /// The body of a message that is published now.
    #[must_use]
    pub fn publish(&self, number: usize) -> Vec<u8> {
        let mut body = vec![7; BODY];
        body[..8].copy_from_slice(&(number as u64).to_le_bytes());
        self.times[number].0.store(self.now(), Relaxed);
        body
    }

    /// The message with this body has come.
    pub fn arrive(&self, body: &[u8]) {
        let number = body.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        let now = self.now();
        if let Some((_, arrived)) =
            usize::try_from(number).ok().and_then(|number| self.times.get(number))
        {
            arrived.store(now, Relaxed);
        }
    }

    /// Waits until a message has come.
    ///
    /// # Panics
    /// When it does not come within 30 s.
    pub async fn wait_for(&self, number: usize) {
        let begun = Instant::now();
        while self.times[number].1.load(Relaxed) == 0 {
            assert!(begun.elapsed() < PATIENCE, "message {number} has not come");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The median and the 99th percentile in microseconds.
    #[must_use]
    pub fn percentiles(&self) -> (f64, f64) {
        let times = &self.times[WARM_UP..];
        let mut sorted: Vec<u64> =
            times.iter().map(|(begin, end)| end.load(Relaxed) - begin.load(Relaxed)).collect();
        sorted.sort_unstable();
        let at = |percent| {
            Duration::from_nanos(sorted[sorted.len() * percent / 100]).as_secs_f64() * 1e6
        };
        (at(50), at(99))
    }
}
