//! A bus that publishes at a steady rate, or finds a full topic, and handles all of it, while some
//! aggregates fail for ever. It says what became of every message; whether that is good enough is
//! decided by the program.

mod books;
mod source;

use super::{BrokerKind, BusSide, FilledTopic, Floor, Load, Pool};
use crate::{peak_rss_bytes, two_threads};
use books::Books;
use buslane::{Event, EventBus, config::KeyedPoolConfig};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// On a broker that has partitions.
const PARTITIONS: u32 = 8;
const WORKERS: usize = 256;
const LOOK: Duration = Duration::from_millis(20);
/// Nothing has been handled for so long: what is missing does not come.
const STALLED: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(30);

/// What becomes of messages that fail for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// They go to a topic of their own
    DeadLetter,
    /// Their aggregates wait
    Block,
}

/// A run.
#[derive(Debug, Clone, clap::Args)]
pub struct Steady {
    /// Which of the brokers that the environment names
    #[arg(long)]
    pub broker: BrokerKind,
    /// Messages a second; 0 publishes all of them before the bus begins
    #[arg(long, default_value_t = 20_000)]
    pub rate: u64,
    /// Messages in all
    #[arg(long)]
    pub messages: u64,
    /// Aggregates
    #[arg(long, default_value_t = 1_000)]
    pub keys: u64,
    /// How many of them fail for ever
    #[arg(long, default_value_t = 0)]
    pub poison: u64,
    /// What becomes of their messages
    #[arg(long, value_enum, default_value = "dead-letter")]
    pub policy: Policy,
    /// Which pool runs the handlers
    #[arg(long, value_enum, default_value = "keyed")]
    pub pool: Pool,
    /// Messages that a lane holds; the pool's default where it is not given
    #[arg(long)]
    pub lane_limit: Option<usize>,
}

impl Steady {
    /// Room in a lane for all messages of a key that waits: they are drawn at random, and twice the
    /// mean is more than any has. `None` where the default has it.
    #[must_use]
    pub fn roomy_lane(&self) -> Option<usize> {
        let room = usize::try_from(self.messages / self.keys * 2).unwrap_or(usize::MAX);
        (room > KeyedPoolConfig::default().lane_limit).then_some(room)
    }

    /// Runs it.
    ///
    /// # Panics
    /// When the broker or the bus refuses something.
    #[must_use]
    pub fn run(&self) -> Value {
        let (runtime, floor) = (two_threads(), self.broker.floor());
        let load = Load { messages: 0, keys: 1, partitions: PARTITIONS };
        let [topic, dead] = [(); 2].map(|()| FilledTopic::empty(&runtime, &*floor, load));
        if self.rate == 0 {
            source::fill(self, &runtime, &*floor, topic.name());
        }
        let books = Arc::new(Books::new(self));
        let (seconds, open, blocked, held) = runtime.block_on(async {
            let bus = self.connect(&*floor).await;
            self.subscribe(&bus, topic.name(), dead.name(), &books).await;
            let publishing = (self.rate > 0).then(|| {
                tokio::spawn(source::publish(self.clone(), bus.clone(), topic.name().to_owned()))
            });
            let begun = Instant::now();
            let idle = self.wait(&bus, &books).await;
            // Measured from the first call to publish, or from the first message that came.
            let seconds = if self.rate > 0 { begun.elapsed() } else { books.since_first() }
                .saturating_sub(idle);
            if let Some(publishing) = publishing {
                publishing.await.expect("a publisher without panics");
            }
            let (stats, held) = (bus.pool_stats(), bus.status().stalled_partitions.len());
            // Blocked messages are left open, which is their policy.
            let deadline =
                if self.policy == Policy::Block { Duration::from_secs(1) } else { DEADLINE };
            bus.shutdown(deadline).await.expect("a report");
            (seconds, stats.open, stats.blocked_lanes, held)
        });
        let letters = match self.policy {
            Policy::DeadLetter => floor.stored(&runtime, dead.name(), PARTITIONS),
            Policy::Block => Vec::new(),
        };
        let letters = letters.iter().map(|body| books::number(body)).collect();
        let mut told = self.told(&books, seconds, letters);
        (told["open"], told["blocked_keys"], told["held_partitions"]) =
            (open.into(), blocked.into(), held.into());
        told
    }

    fn told(&self, books: &Books, time: Duration, letters: Vec<u64>) -> Value {
        let healthy = self.healthy();
        let of_all = letters.len();
        let mut letters = letters;
        letters.sort_unstable();
        letters.dedup();
        let expected = self.messages - healthy;
        let seconds = time.as_secs_f64();
        json!({
            "messages": self.messages,
            "healthy": healthy,
            "handled": books.handled(),
            "again": books.again(),
            "violations": books.violations(),
            "seconds": seconds,
            "rate": books.handled() as f64 / seconds,
            "p50_ms": books.latency_ms(0.5),
            "p99_ms": books.latency_ms(0.99),
            "failing": expected,
            "dead_letters": letters.len(),
            "dead_letters_again": of_all - letters.len(),
            "rss_mb": peak_rss_bytes() as f64 / 1e6,
        })
    }

    /// How many messages are of aggregates that do not fail.
    fn healthy(&self) -> u64 {
        source::messages(self).filter(|(_, key)| *key >= self.poison).count() as u64
    }

    async fn connect(&self, floor: &dyn Floor) -> EventBus {
        let side = BusSide { pool: self.pool, workers: WORKERS, recovery: false };
        let mut config = side.config(floor);
        if let Some(limit) = self.lane_limit {
            let (keyed, actor) = floor.pools(&mut config);
            (keyed.lane_limit, actor.lane_limit) = (limit, limit);
        }
        EventBus::connect(config).await.expect("a bus connects")
    }

    async fn subscribe(&self, bus: &EventBus, topic: &str, dead: &str, books: &Arc<Books>) {
        let books = Arc::clone(books);
        let handler = move |event: Event| std::future::ready(books.handle(&event));
        let subscription = bus.subscription(topic);
        let subscription = match self.policy {
            Policy::DeadLetter => subscription.dead_letter(dead),
            Policy::Block => subscription.block_failed(),
        };
        subscription.envelopes(handler).await.expect("a bus subscribes");
    }

    /// Waits until everything is over that can be. Returns for how long nothing has come any more,
    /// where something is missing.
    async fn wait(&self, bus: &EventBus, books: &Books) -> Duration {
        let healthy = self.healthy();
        let (mut last, mut progress) = (0, Instant::now());
        loop {
            tokio::time::sleep(LOOK).await;
            let stats = bus.pool_stats();
            let over = stats.ok + stats.failed;
            if over > last {
                (last, progress) = (over, Instant::now());
            }
            let is_complete = match self.policy {
                Policy::Block => books.handled() >= healthy,
                Policy::DeadLetter => {
                    stats.ok >= self.messages || books.handled() >= healthy && over >= self.messages
                }
            };
            if is_complete {
                return Duration::ZERO;
            }
            if progress.elapsed() > STALLED {
                return progress.elapsed();
            }
        }
    }
}
