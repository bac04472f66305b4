//! A bus at full load whose keys change pools repeatedly: the fate of each message, and its latency
//! while slots move and while none does.

use crate::{SplitMix64, broker::BrokerKind};
use buslane::{
    Backend, Config, Event, EventBus, TopicSettings, TopicStrategy, config::RecoveryStart,
};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Publishers, each with aggregates of its own.
const PUBLISHERS: u64 = 4;
/// Messages that a publisher sends at a time.
const BATCH: u64 = 128;
/// Messages that are published and not handled: what makes the load full, and keeps it from
/// growing.
const OUTSTANDING: u32 = 4_096;
const WORKERS: usize = 256;
/// Where topics have them.
const PARTITIONS: u32 = 8;
/// Shares of the keys on the actor pool, repeated in this order.
const SHARES: [u8; 6] = [10, 50, 100, 30, 70, 0];
const PATIENCE: Duration = Duration::from_secs(60);

/// A run.
#[derive(Debug, Clone, clap::Args)]
pub struct Moves {
    /// Which of the brokers that the environment names [default: memory]
    #[arg(long)]
    pub broker: Option<BrokerKind>,
    /// Live moves
    #[arg(long, default_value_t = 50)]
    pub moves: usize,
    /// Time between two moves in milliseconds
    #[arg(long, default_value_t = 200)]
    pub pause_ms: u64,
    /// Aggregates
    #[arg(long, default_value_t = 1_000)]
    pub keys: u64,
    /// How long every eighth handler waits, in microseconds; the others return at once
    #[arg(long, default_value_t = 1_000)]
    pub wait_us: u64,
}

/// Observations of the handlers.
struct Outcomes {
    epoch: Instant,
    is_moving: AtomicBool,
    /// The next number of each key.
    next: Vec<AtomicU64>,
    running: Vec<AtomicBool>,
    handled: AtomicU64,
    violations: AtomicU64,
    again: AtomicU64,
    overlaps: AtomicU64,
    at_rest: Mutex<Histogram<u64>>,
    moving: Mutex<Histogram<u64>>,
}

fn histogram() -> Mutex<Histogram<u64>> {
    Mutex::new(Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("good bounds"))
}

impl Outcomes {
    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn begin(&self, key: usize) {
        self.overlaps.fetch_add(u64::from(self.running[key].swap(true, Relaxed)), Relaxed);
    }

    fn end(&self, key: usize, number: u64, sent: u64) {
        self.running[key].store(false, Relaxed);
        let expected = self.next[key].fetch_max(number + 1, Relaxed);
        match number.cmp(&expected) {
            std::cmp::Ordering::Less => drop(self.again.fetch_add(1, Relaxed)),
            std::cmp::Ordering::Equal => drop(self.handled.fetch_add(1, Relaxed)),
            std::cmp::Ordering::Greater => drop(self.violations.fetch_add(1, Relaxed)),
        }
        let into = if self.is_moving.load(Relaxed) { &self.moving } else { &self.at_rest };
        into.lock()
            .expect("no panics")
            .saturating_record(self.now_us().saturating_sub(sent).max(1));
    }
}

impl Moves {
    /// Runs it.
    ///
    /// # Panics
    /// When the broker or the bus refuses something, or a message does not come.
    #[must_use]
    pub fn run(&self) -> Value {
        crate::two_threads().block_on(self.run_on())
    }

    async fn run_on(&self) -> Value {
        let keys = usize::try_from(self.keys).expect("keys that fit");
        let outcomes = Arc::new(Outcomes {
            epoch: Instant::now(),
            is_moving: AtomicBool::new(false),
            next: (0..keys).map(|_| AtomicU64::new(0)).collect(),
            running: (0..keys).map(|_| AtomicBool::new(false)).collect(),
            handled: AtomicU64::new(0),
            violations: AtomicU64::new(0),
            again: AtomicU64::new(0),
            overlaps: AtomicU64::new(0),
            at_rest: histogram(),
            moving: histogram(),
        });
        let (bus, topic, room) =
            (self.connect().await, buslane_testkit::server::unique("moves"), semaphore());
        let settings = TopicSettings { partitions: Some(PARTITIONS), ..TopicSettings::default() };
        bus.configure_topic(&topic, &settings, TopicStrategy::CreateOnly)
            .await
            .expect("a new topic");
        self.subscribe(&bus, &topic, &outcomes, &room).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let mut publishers = JoinSet::new();
        for own in 0..PUBLISHERS {
            let (bus, topic, room, is_over) =
                (bus.clone(), topic.clone(), Arc::clone(&room), Arc::clone(&is_over));
            publishers.spawn(publish(
                bus,
                topic,
                self.keys,
                own,
                room,
                is_over,
                Arc::clone(&outcomes),
            ));
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (rollout, mut took) = (bus.rollout(), Vec::new());
        for share in SHARES.into_iter().cycle().take(self.moves) {
            let start = Instant::now();
            outcomes.is_moving.store(true, Relaxed);
            rollout.set_percent(share, "bench").expect("an open bus");
            rollout.settled().await;
            outcomes.is_moving.store(false, Relaxed);
            took.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(self.pause_ms)).await;
        }
        is_over.store(true, Relaxed);
        let published: u64 = publishers.join_all().await.into_iter().sum();
        let all = tokio::time::timeout(PATIENCE, room.acquire_many(OUTSTANDING)).await;
        let seconds = begun.elapsed().as_secs_f64();
        let lost = published - outcomes.handled.load(Relaxed).min(published);
        assert!(all.is_ok(), "{lost} of {published} messages have not come");
        bus.shutdown(PATIENCE).await.expect("a report");
        took.sort_unstable();
        let p99 = |of: &Mutex<Histogram<u64>>| {
            of.lock().expect("no panics").value_at_quantile(0.99) as f64 / 1e3
        };
        let (at_rest, moving) = (p99(&outcomes.at_rest), p99(&outcomes.moving));
        json!({
            "broker": bus.backend().as_str(),
            "moves": self.moves,
            "published": published,
            "lost": lost,
            "again": outcomes.again.load(Relaxed),
            "violations": outcomes.violations.load(Relaxed),
            "overlaps": outcomes.overlaps.load(Relaxed),
            "rate": published as f64 / seconds,
            "messages_while_moving": outcomes.moving.lock().expect("no panics").len(),
            "move_ms_median": took[took.len() / 2].as_secs_f64() * 1e3,
            "move_ms_most": took[took.len() - 1].as_secs_f64() * 1e3,
            "p99_at_rest_ms": at_rest,
            "p99_moving_ms": moving,
            "ratio": moving / at_rest,
        })
    }

    async fn connect(&self) -> EventBus {
        let url = self.broker.map_or_else(|| "memory://".to_owned(), |broker| broker.floor().url());
        let mut config = Config::new(&url).expect("a good URL");
        config.group = buslane_testkit::server::unique("moves");
        config.recovery.at_start = RecoveryStart::Never;
        config.recovery.on_backlog = false;
        config.rollout.guard = false;
        let (keyed, actor) = match config.backend() {
            Backend::Memory => (&mut config.memory.keyed_pool, &mut config.memory.actor_pool),
            Backend::Kafka => (&mut config.kafka.keyed_pool, &mut config.kafka.actor_pool),
            Backend::Nats => (&mut config.nats.keyed_pool, &mut config.nats.actor_pool),
        };
        keyed.worker_count = WORKERS;
        actor.pool_size = WORKERS;
        EventBus::connect(config).await.expect("a bus connects")
    }

    async fn subscribe(
        &self,
        bus: &EventBus,
        topic: &str,
        outcomes: &Arc<Outcomes>,
        room: &Arc<Semaphore>,
    ) {
        let (outcomes, room, wait) =
            (Arc::clone(outcomes), Arc::clone(room), Duration::from_micros(self.wait_us));
        let handler = move |event: Event| {
            let (outcomes, room) = (Arc::clone(&outcomes), Arc::clone(&room));
            async move {
                let key: usize =
                    event.aggregate_id["key-".len()..].parse().expect("a key of this program");
                let (number, sent): (u64, u64) =
                    event.payload.parse().expect("a payload of this program");
                outcomes.begin(key);
                if number.is_multiple_of(8) {
                    tokio::time::sleep(wait).await;
                }
                outcomes.end(key, number, sent);
                room.add_permits(1);
            }
        };
        bus.subscribe_envelopes(topic, handler).await.expect("a bus subscribes");
    }
}

fn semaphore() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(OUTSTANDING as usize))
}

/// Publishes until the end, no more than there is room for; returns the number of messages.
async fn publish(
    bus: EventBus,
    topic: String,
    keys: u64,
    own: u64,
    room: Arc<Semaphore>,
    is_over: Arc<AtomicBool>,
    outcomes: Arc<Outcomes>,
) -> u64 {
    let (mut random, mut published) = (SplitMix64(own), 0);
    let mut next = vec![0_u64; usize::try_from(keys).expect("keys that fit")];
    while !is_over.load(Relaxed) {
        room.acquire_many(u32::try_from(BATCH).expect("a small batch"))
            .await
            .expect("an open semaphore")
            .forget();
        let sent = outcomes.now_us();
        let batch: Vec<_> = (0..BATCH)
            .map(|_| {
                let key = random.below(keys / PUBLISHERS) * PUBLISHERS + own;
                let number = &mut next[usize::try_from(key).expect("a key that fits")];
                let payload = (*number, sent);
                *number += 1;
                buslane::Envelope::new(format!("key-{key}"), "Moved", &payload).expect("JSON")
            })
            .collect();
        for answer in bus.publish_envelopes(&topic, &batch).await.expect("an open bus") {
            answer.expect("a receipt");
        }
        published += BATCH;
    }
    published
}
