//! A bus that publishes at a steady rate, or finds a full topic, and handles all of it, while some
//! aggregates fail for ever. Reports the fate of every message; the program judges it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use buslane::config::KeyedPoolConfig;
use buslane::{Envelope, Event, EventBus, Record};
use bytes::BytesMut;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{BrokerKind, BusSide, FilledTopic, Floor, Load, Pool};
use crate::{SplitMix64, peak_rss_bytes, two_threads};

/// On a broker that has partitions.
const PARTITIONS: u32 = 8;
const WORKERS: usize = 256;
const LOOK: Duration = Duration::from_millis(20);
/// Time without progress after which missing messages count as lost.
const STALLED: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(30);

/// The terminal policy.
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
    /// Terminal policy of their messages
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
            fill(self, &runtime, &*floor, topic.name());
        }
        let outcomes = Arc::new(Outcomes::new(self));
        let (seconds, open, blocked, held) = runtime.block_on(async {
            let bus = self.connect(&*floor).await;
            self.subscribe(&bus, topic.name(), dead.name(), &outcomes).await;
            let publishing = (self.rate > 0)
                .then(|| tokio::spawn(publish(self.clone(), bus.clone(), topic.name().to_owned())));
            let begun = Instant::now();
            let idle = self.wait(&bus, &outcomes).await;
            // Measured from the first call to publish, or from the first message that came.
            let seconds = if self.rate > 0 { begun.elapsed() } else { outcomes.since_first() }
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
        let letters = letters.iter().map(|body| number(body)).collect();
        let mut told = self.told(&outcomes, seconds, letters);
        (told["open"], told["blocked_keys"], told["held_partitions"]) =
            (open.into(), blocked.into(), held.into());
        told
    }

    fn told(&self, outcomes: &Outcomes, time: Duration, letters: Vec<u64>) -> Value {
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
            "handled": outcomes.handled(),
            "again": outcomes.again(),
            "violations": outcomes.violations(),
            "seconds": seconds,
            "rate": outcomes.handled() as f64 / seconds,
            "p50_ms": outcomes.latency_ms(0.5),
            "p99_ms": outcomes.latency_ms(0.99),
            "failing": expected,
            "dead_letters": letters.len(),
            "dead_letters_again": of_all - letters.len(),
            "rss_mb": peak_rss_bytes() as f64 / 1e6,
        })
    }

    /// How many messages are of aggregates that do not fail.
    fn healthy(&self) -> u64 {
        messages(self).filter(|(_, key)| *key >= self.poison).count() as u64
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

    async fn subscribe(&self, bus: &EventBus, topic: &str, dead: &str, outcomes: &Arc<Outcomes>) {
        let outcomes = Arc::clone(outcomes);
        let handler = move |event: Event| std::future::ready(outcomes.handle(&event));
        let subscription = bus.subscription(topic);
        let subscription = match self.policy {
            Policy::DeadLetter => subscription.dead_letter(dead),
            Policy::Block => subscription.block_failed(),
        };
        subscription.envelopes(handler).await.expect("a bus subscribes");
    }

    /// Waits until every message is over that can be. Returns the time without progress if messages
    /// are missing.
    async fn wait(&self, bus: &EventBus, outcomes: &Outcomes) -> Duration {
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
                Policy::Block => outcomes.handled() >= healthy,
                Policy::DeadLetter => {
                    stats.ok >= self.messages
                        || outcomes.handled() >= healthy && over >= self.messages
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

const HOUR_US: u64 = 3_600_000_000;

/// The outcomes of a run.
struct Outcomes {
    poison: u64,
    /// Which messages were handled.
    seen: Vec<AtomicBool>,
    /// The last message of each key.
    last: Vec<AtomicU64>,
    handled: AtomicU64,
    again: AtomicU64,
    violations: AtomicU64,
    first: OnceLock<Instant>,
    latency: Mutex<Histogram<u64>>,
}

/// The payload: the number of the message, and its publish time.
fn payload(number: u64, sent: Duration) -> Value {
    json!({ "n": number, "sent_us": micros(sent), "currency": "EUR", "sku": "sku-7", "customer": "c-123" })
}

/// The number of the message with this body.
fn number(body: &[u8]) -> u64 {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    body["payload"]["n"].as_u64().expect("a number")
}

fn now_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Outcomes {
    fn new(run: &Steady) -> Self {
        let count = |number: u64| usize::try_from(number).expect("a number that fits");
        Self {
            poison: run.poison,
            seen: (0..count(run.messages)).map(|_| AtomicBool::new(false)).collect(),
            last: (0..count(run.keys)).map(|_| AtomicU64::new(0)).collect(),
            handled: AtomicU64::new(0),
            again: AtomicU64::new(0),
            violations: AtomicU64::new(0),
            first: OnceLock::new(),
            latency: Mutex::new(Histogram::new_with_bounds(1, HOUR_US, 3).expect("good bounds")),
        }
    }

    /// Handles a message: those of poisoned keys fail.
    fn handle(&self, event: &Event) -> Result<(), &'static str> {
        self.first.get_or_init(Instant::now);
        let key: u64 = event.aggregate_id["order-".len()..].parse().expect("a key of this program");
        if key < self.poison {
            return Err("this order fails for ever");
        }
        let note: Value = event.payload.parse().expect("a payload of this program");
        let number = |name: &str| note[name].as_u64().expect("a number");
        let n = number("n");
        let at = usize::try_from(n).expect("a number that fits");
        if self.seen[at].swap(true, Relaxed) {
            self.again.fetch_add(1, Relaxed);
            return Ok(());
        }
        let before = self.last[usize::try_from(key).expect("a key that fits")].swap(n + 1, Relaxed);
        if before > n {
            self.violations.fetch_add(1, Relaxed);
        }
        let latency = now_us().saturating_sub(number("sent_us"));
        self.latency.lock().expect("no panics").saturating_record(latency.max(1));
        self.handled.fetch_add(1, Relaxed);
        Ok(())
    }

    fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    fn again(&self) -> u64 {
        self.again.load(Relaxed)
    }

    fn violations(&self) -> u64 {
        self.violations.load(Relaxed)
    }

    fn since_first(&self) -> Duration {
        self.first.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.lock().expect("no panics").value_at_quantile(quantile) as f64 / 1e3
    }
}

const SEED: u64 = 1;
/// Time between two batches of a publisher.
const TICK: Duration = Duration::from_millis(10);
/// Publishers, each with aggregates of its own: the next message of an aggregate is published after
/// the answer to the one before, on which its order rests.
const PUBLISHERS: u64 = 8;

/// A message of a run: its number and its aggregate.
type Numbered = (u64, u64);

/// All messages.
fn messages(run: &Steady) -> impl Iterator<Item = Numbered> + Send + use<> {
    let (mut random, keys) = (SplitMix64(SEED), run.keys);
    (0..run.messages).map(move |number| (number, random.below(keys)))
}

fn record((number, key): Numbered, sent: SystemTime, arena: &mut BytesMut) -> Record {
    let payload = payload(number, sent.duration_since(UNIX_EPOCH).unwrap_or_default());
    let envelope = Envelope::new(format!("order-{key}"), "OrderPlaced", &payload).expect("JSON");
    Record::from_envelope(&envelope, arena).expect("a valid envelope")
}

/// Publishes everything with the bare client.
fn fill(run: &Steady, runtime: &Runtime, floor: &dyn Floor, topic: &str) {
    let mut arena = BytesMut::new();
    let mut records =
        messages(run).map(move |message| record(message, SystemTime::now(), &mut arena));
    floor.fill(runtime, topic, &mut records);
}

/// Publishes everything on the bus, at the rate. Messages say when they were due: one that is
/// published late is late.
async fn publish(run: Steady, bus: EventBus, topic: String) {
    let begun = (Instant::now(), SystemTime::now());
    let one = |publisher| {
        let own = messages(&run).filter(move |(_, key)| key % PUBLISHERS == publisher);
        publish_some(own, run.rate, begun, bus.clone(), topic.clone())
    };
    (0..PUBLISHERS).map(one).collect::<JoinSet<()>>().join_all().await;
}

async fn publish_some(
    own: impl Iterator<Item = Numbered> + Send,
    rate: u64,
    begun: (Instant, SystemTime),
    bus: EventBus,
    topic: String,
) {
    let due = |number: u64| Duration::from_secs_f64(number as f64 / rate as f64);
    let (mut own, mut arena, mut ticks) = (own.peekable(), BytesMut::new(), interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while own.peek().is_some() {
        ticks.tick().await;
        let now = begun.0.elapsed();
        let mut batch = Vec::new();
        while let Some(message) = own.next_if(|(number, _)| due(*number) <= now) {
            batch.push(record(message, begun.1 + due(message.0), &mut arena));
        }
        let answers = bus.publish_batch(&topic, batch).await.expect("an open bus");
        answers.into_iter().for_each(|answer| drop(answer.expect("a receipt")));
    }
}
