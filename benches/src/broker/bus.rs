//! The bus on a broker, with handlers that do nothing or wait.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use buslane::config::RecoveryStart;
use buslane::{Config, Event, EventBus, Message};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::Floor;
use crate::{Cost, HandlerClock, cpu_time};

const DEADLINE: Duration = Duration::from_secs(30);
/// Interval of the checks whether everything is handled.
const LOOK: Duration = Duration::from_millis(1);

/// Which pool runs the handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pool {
    /// Keyed workers.
    Keyed,
    /// Supervised actors.
    Actor,
}

/// Input and work of the handler.
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
    /// Whether recovery mode is as it is by default; else it is off.
    pub recovery: bool,
}

impl BusSide {
    /// The settings of a bus in a group of its own.
    pub(super) fn config(self, floor: &dyn Floor) -> Config {
        let mut config = Config::new(&floor.url()).expect("a good URL");
        config.group = buslane_testkit::server::unique("bus");
        if !self.recovery {
            config.recovery.at_start = RecoveryStart::Never;
            config.recovery.on_backlog = false;
        }
        let (keyed, actor) = floor.pools(&mut config);
        keyed.worker_count = self.workers;
        actor.pool_size = self.workers;
        actor.enabled = self.pool == Pool::Actor;
        config
    }

    /// A bus in a group of its own.
    ///
    /// # Panics
    /// When it does not connect.
    pub fn connect(self, floor: &dyn Floor) -> impl Future<Output = EventBus> + Send + use<> {
        let config = self.config(floor);
        async { EventBus::connect(config).await.expect("a bus connects") }
    }

    /// Handles `messages` messages of a topic, measured from the first one, and the mean time in a
    /// handler that waits.
    ///
    /// # Panics
    /// When the bus refuses.
    #[allow(clippy::too_many_arguments, reason = "the words of one command line")]
    #[must_use]
    pub fn read(
        self,
        runtime: &Runtime,
        floor: &dyn Floor,
        topic: &str,
        reader: Reader,
        wait: Duration,
        stuck: &str,
        messages: u64,
    ) -> (Cost, Duration) {
        runtime.block_on(async {
            let bus = self.connect(floor).await;
            let (probe, gate) = (Arc::new(Probe::default()), Arc::new(Semaphore::new(0)));
            subscribe(&bus, topic, reader, wait, stuck, &probe, &gate).await;
            while bus.pool_stats().ok < messages {
                tokio::time::sleep(LOOK).await;
            }
            let cost = probe.cost(messages);
            assert_eq!(
                bus.recovery().is_active(),
                self.recovery,
                "what waits begins the mode, where it is not off"
            );
            gate.close();
            bus.shutdown(DEADLINE).await.expect("a bus shuts down");
            (cost, probe.clock().mean())
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
                    probe.clock().record(start);
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

/// Counts the handled messages, and measures from the first one on.
#[derive(Debug, Default)]
pub struct Probe {
    begin: OnceLock<(Instant, Duration)>,
    clock: HandlerClock,
}

impl Probe {
    /// A message came.
    #[inline]
    pub fn enter(&self) {
        self.begin.get_or_init(|| (Instant::now(), cpu_time()));
    }

    /// The time that handlers took, those that take it.
    #[must_use]
    pub const fn clock(&self) -> &HandlerClock {
        &self.clock
    }

    /// What `messages` messages have cost up to now.
    #[must_use]
    pub fn cost(&self, messages: u64) -> Cost {
        let (start, cpu) = *self.begin.get_or_init(|| (Instant::now(), cpu_time()));
        Cost { messages, wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
    }
}
