//! The bus on Kafka, with handlers that do nothing or wait.

use crate::{Cost, HandlerClock, cpu_time};
use buslane::{Config, Event, EventBus, Message};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::Semaphore};

const DEADLINE: Duration = Duration::from_secs(30);
/// Time between two looks whether everything is handled.
const LOOK: Duration = Duration::from_millis(1);

/// Which pool runs the handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pool {
    /// Keyed workers.
    Keyed,
    /// Supervised actors.
    Actor,
}

/// What the handler takes and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Reader {
    /// Takes the message as it came, and does nothing.
    Raw,
    /// Takes the parsed envelope, and does nothing.
    Parsed,
    /// Waits.
    Waiting,
    /// Never ends for one key, and does nothing for the others.
    Stuck,
}

/// A bus that is measured.
#[derive(Debug, Clone, Copy)]
pub struct BusSide {
    /// Its pool.
    pub pool: Pool,
    /// Handlers that it runs at a time.
    pub workers: usize,
}

/// What handlers saw.
#[derive(Default)]
struct Probe {
    begin: OnceLock<(Instant, Duration)>,
    clock: HandlerClock,
}

impl Probe {
    fn enter(&self) {
        self.begin.get_or_init(|| (Instant::now(), cpu_time()));
    }

    fn cost(&self, messages: u64) -> Cost {
        let (start, cpu) = *self.begin.get_or_init(|| (Instant::now(), cpu_time()));
        Cost { messages, wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
    }
}

impl BusSide {
    /// A bus in a group of its own.
    ///
    /// # Panics
    /// When it does not connect.
    pub async fn connect(self, server: &str) -> EventBus {
        let mut config = Config::new(&format!("kafka://{server}")).expect("a good URL");
        config.group = buslane_testkit::server::unique("bus");
        config.kafka.keyed_pool.worker_count = self.workers;
        config.kafka.actor_pool.pool_size = self.workers;
        config.kafka.actor_pool.enabled = self.pool == Pool::Actor;
        EventBus::connect(config).await.expect("a bus connects")
    }

    /// Handles `messages` messages of a topic, measured from the first one, and the mean time in a handler that waits.
    ///
    /// # Panics
    /// When the bus refuses.
    #[must_use]
    pub fn read(
        self,
        runtime: &Runtime,
        topic: &str,
        reader: Reader,
        wait: Duration,
        stuck: &str,
        messages: u64,
    ) -> (Cost, Duration) {
        runtime.block_on(async {
            let bus = self.connect(&super::server()).await;
            let (probe, gate) = (Arc::new(Probe::default()), Arc::new(Semaphore::new(0)));
            subscribe(&bus, topic, reader, wait, stuck, &probe, &gate).await;
            while bus.pool_stats().ok < messages {
                tokio::time::sleep(LOOK).await;
            }
            let cost = probe.cost(messages);
            gate.close();
            bus.shutdown(DEADLINE).await.expect("a bus shuts down");
            (cost, probe.clock.mean())
        })
    }
}

async fn subscribe(
    bus: &EventBus,
    topic: &str,
    reader: Reader,
    wait: Duration,
    stuck: &str,
    probe: &Arc<Probe>,
    gate: &Arc<Semaphore>,
) {
    let (probe, gate) = (Arc::clone(probe), Arc::clone(gate));
    let subscribed = match reader {
        Reader::Raw => {
            let handler = move |_: Message| {
                probe.enter();
                async {}
            };
            bus.subscribe(topic, handler).await
        }
        Reader::Parsed => {
            let handler = move |_: Event| {
                probe.enter();
                async {}
            };
            bus.subscribe_envelopes(topic, handler).await
        }
        Reader::Waiting => {
            let handler = move |_: Message| {
                probe.enter();
                let probe = Arc::clone(&probe);
                async move {
                    let start = Instant::now();
                    tokio::time::sleep(wait).await;
                    probe.clock.record(start);
                }
            };
            bus.subscribe(topic, handler).await
        }
        Reader::Stuck => {
            let stuck = stuck.to_owned();
            let handler = move |message: Message| {
                probe.enter();
                let is_stuck = message.key.as_ref().is_some_and(|key| key == stuck.as_bytes());
                let gate = is_stuck.then(|| Arc::clone(&gate));
                async move {
                    if let Some(gate) = gate {
                        drop(gate.acquire().await);
                    }
                }
            };
            bus.subscribe(topic, handler).await
        }
    };
    subscribed.expect("a bus subscribes");
}
