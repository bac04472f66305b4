//! A bus that has one fault, and its metrics over HTTP: what `cargo xtask dashboards` tries the
//! alerts of `deploy/prometheus` on.
//!
//! Not an example of how a service is written: that is `crates/order-service`.

use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use buslane::broker::{Broker, SymptomKind};
use buslane::http::{Listen, router_with_metrics, serve};
use buslane::metrics::SECONDS_BUCKETS;
use buslane::{BusError, Config, Envelope, Event, EventBus, Message, Record, Retry, Topic};
use buslane_bus_suite::FaultyBroker;
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig};
use clap::{Parser, ValueEnum};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::sync::Notify;

/// Makes one fault and keeps it until it is killed
#[derive(Debug, Parser)]
struct Options {
    /// Which fault
    #[arg(value_enum)]
    scenario: Scenario,

    /// Where it shows health and metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: SocketAddr,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let page = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &SECONDS_BUCKETS)?
        .install_recorder()?;
    let bus = options.scenario.play().await?;
    let server =
        serve(router_with_metrics(&bus, move || page.render()), Listen::on(options.http)).await?;
    eprintln!("http://{}", server.address());
    std::future::pending().await
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Answer = std::result::Result<(), BusError>;

const ORDERS: &str = "orders";
const DEAD: &str = "orders.dead";
const SOON: Duration = Duration::from_millis(200);
/// Longer than any observation.
const NEVER: Duration = Duration::from_secs(3_600);

/// The fault of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Scenario {
    /// The connection is cut
    BrokerGone,
    /// No question is answered
    BrokerSilent,
    /// The connection says that the login is refused
    CredentialExpired,
    /// The connection says that the group does not come to rest
    GroupNotStable,
    /// The connection says that settlements are refused
    CommitRefused,
    /// Probes are not answered
    PublisherStuck,
    /// Probes do not come back
    ProbesLost,
    /// A topic's messages do not come
    DeadPartition,
    /// The dead-letter topic is read only
    DeadLetterUnwritable,
    /// A subscription is paused
    PausedTooLong,
    /// A handler does not come back
    StuckHandler,
    /// A handler refuses a message, and its key waits
    BlockedKey,
    /// A key whose messages fail has more of them than its lane holds
    PartitionHeld,
    /// Handlers are slow, and the pool is small
    PoolFull,
    /// Actors panic
    RestartStorm,
    /// The ceiling is one byte
    MemoryCeiling,
    /// Messages come in, and none is handled
    Backlog,
    /// Publishes are not acknowledged
    PublishBacklog,
    /// Every message becomes a dead letter
    DeadLetters,
    /// Every message is skipped
    Skipped,
    /// Attempts fail at the actor pool, and all keys go back to the keyed pool
    RolledBack,
    /// A handler that does not come back keeps its hash slot from moving
    SlotsStuck,
}

impl Scenario {
    /// A bus that has the fault, or will have it in a moment.
    async fn play(self) -> Result<EventBus> {
        let broker = MemoryBroker::new(MemoryConfig::default())?;
        let faulty =
            Arc::new(FaultyBroker::new(Arc::new(broker.member(MemberOptions::new("scenario")))));
        let config = self.config();
        let probes = Topic::new(&config.health.probe.topic)?;
        let (orders, dead) = (Topic::new(ORDERS)?, Topic::new(DEAD)?);
        let bus = EventBus::with_broker(config, Arc::clone(&faulty) as Arc<dyn Broker>).await?;
        let why = "as a scenario wants it";
        match self {
            Self::BrokerGone => broker.faults().disconnect(why),
            Self::BrokerSilent => faulty.ignore_pings(),
            Self::CredentialExpired => faulty.symptoms().note(SymptomKind::LoginRefused, None, why),
            Self::GroupNotStable => faulty.symptoms().note(SymptomKind::GroupUnsettled, None, why),
            Self::CommitRefused => {
                faulty.symptoms().note(SymptomKind::SettlementRefused, Some((orders, 0)), why)
            }
            Self::PublisherStuck => faulty.keep_silent(&probes),
            Self::ProbesLost => faulty.mute(&probes, true),
            Self::DeadPartition => {
                faulty.mute(&orders, true);
                bus.subscribe_envelopes(ORDERS, async |_: Event| ()).await?;
                envelopes(&bus, 8).await?;
            }
            Self::DeadLetterUnwritable => {
                faulty.refuse(&dead, true);
                bus.subscription(ORDERS).dead_letter(DEAD).retry(once()).envelopes(refuses).await?;
                envelopes(&bus, 1).await?;
            }
            Self::PausedTooLong => {
                bus.subscribe_envelopes(ORDERS, async |_: Event| ()).await?.pause()
            }
            Self::StuckHandler => {
                bus.subscribe_envelopes(ORDERS, async |_: Event| pending::<()>().await).await?;
                envelopes(&bus, 1).await?;
            }
            Self::BlockedKey => {
                bus.subscription(ORDERS).block_failed().retry(once()).envelopes(refuses).await?;
                envelopes(&bus, 1).await?;
            }
            Self::PartitionHeld => {
                bus.subscription(ORDERS).block_failed().retry(once()).envelopes(refuses).await?;
                envelopes(&bus, 300).await?;
            }
            Self::PoolFull => {
                bus.subscribe_envelopes(ORDERS, async |_: Event| pending::<()>().await).await?;
                envelopes(&bus, 300).await?;
            }
            Self::RestartStorm => {
                bus.subscribe(ORDERS, async |_: Message| panics()).await?;
                again(
                    &bus,
                    |bus| async move { bus.publish(ORDERS, Record::new("x")).await.map(drop) },
                );
            }
            Self::MemoryCeiling => {}
            Self::Backlog => {
                bus.subscribe_envelopes(ORDERS, async |_: Event| ()).await?.pause();
                envelopes(&bus, 2_000).await?;
                again(&bus, |bus| async move { envelopes(&bus, 20).await });
            }
            Self::PublishBacklog => {
                faulty.keep_silent(&orders);
                again(&bus, |bus| async move {
                    tokio::spawn(async move { bus.publish(ORDERS, Record::new("x")).await });
                    Ok(())
                });
            }
            Self::DeadLetters => {
                bus.subscription(ORDERS).dead_letter(DEAD).retry(once()).envelopes(refuses).await?;
                again(&bus, |bus| async move { envelopes(&bus, 1).await });
            }
            Self::Skipped => {
                bus.subscription(ORDERS).skip_failed().retry(once()).envelopes(refuses).await?;
                again(&bus, |bus| async move { envelopes(&bus, 1).await });
            }
            Self::RolledBack => {
                let rollout = bus.rollout();
                let handler = move |message: Message| {
                    let pool = rollout.pool_of(ORDERS, message.key.unwrap_or_default());
                    async move {
                        if pool.is_ok_and(|pool| pool == "actor") {
                            Err("not here")
                        } else {
                            Ok(())
                        }
                    }
                };
                bus.subscribe(ORDERS, handler).await?;
                // A comment for readers of the log.
                again(&bus, |bus| async move {
                    let rollout = bus.rollout();
                    if rollout.status().percent == 0 {
                        rollout
                            .set_percent(50, "somebody who is stubborn")
                            .map_err(|_| BusError::Closed)?;
                    }
                    for number in 0..30 {
                        bus.publish(ORDERS, Record::new("x").with_key(format!("order-{number}")))
                            .await?;
                    }
                    Ok(())
                });
            }
            Self::SlotsStuck => {
                let begun = Arc::new(Notify::new());
                let inner = Arc::clone(&begun);
                let handler = move |_: Event| {
                    inner.notify_one();
                    pending::<()>()
                };
                bus.subscribe_envelopes(ORDERS, handler).await?;
                envelopes(&bus, 1).await?;
                begun.notified().await;
                bus.rollout().set_percent(100, "somebody")?;
            }
        }
        Ok(bus)
    }

    /// Looks often, and names what it sees soon.
    fn config(self) -> Config {
        let mut config = Config::default();
        config.backlog.check_interval = SOON;
        let health = &mut config.health;
        health.check_interval = SOON;
        // Only the limit that the scenario is about is short: on a busy machine the others would
        // find something as well.
        match self {
            Self::BrokerGone | Self::BrokerSilent => health.broker_limit = 5 * SOON,
            Self::GroupNotStable => health.group_limit = SOON,
            Self::CommitRefused => health.settlement_limit = SOON,
            Self::DeadPartition => health.partition_limit = SOON,
            Self::StuckHandler => health.handler_limit = SOON,
            Self::PausedTooLong => health.pause_limit = SOON,
            Self::MemoryCeiling => health.memory = 1,
            Self::PublisherStuck | Self::ProbesLost => {
                health.probe.enabled = true;
                (health.probe.interval, health.probe.limit) = (SOON, 10 * SOON);
                // Else it is the partition of the probes that is named.
                health.partition_limit = NEVER;
            }
            Self::PartitionHeld => {
                let pool = &mut config.memory.keyed_pool;
                (pool.lane_limit, pool.wait_timeout) = (5, SOON);
                health.pool_limit = SOON;
            }
            Self::PoolFull => {
                let pool = &mut config.memory.keyed_pool;
                (pool.worker_count, pool.queue_size, pool.wait_timeout) = (2, 10, SOON);
                (health.pool_limit, health.handler_limit) = (SOON, NEVER);
            }
            Self::RestartStorm => {
                let pool = &mut config.memory.actor_pool;
                (pool.enabled, pool.max_restarts) = (true, 1_000_000);
            }
            Self::Backlog => config.backlog.messages = 100,
            Self::RolledBack => {
                let rollout = &mut config.rollout;
                (rollout.min_messages, rollout.check_interval, rollout.window) =
                    (50, SOON, 20 * SOON);
            }
            Self::SlotsStuck => {
                config.rollout.move_deadline = SOON;
                health.handler_limit = NEVER;
            }
            Self::PublishBacklog => {
                config.publish_timeout = NEVER;
                config.backlog.publish_depth = 10;
            }
            Self::CredentialExpired
            | Self::DeadLetterUnwritable
            | Self::BlockedKey
            | Self::DeadLetters
            | Self::Skipped => {}
        }
        config
    }
}

fn once() -> Retry {
    Retry::never()
}

async fn refuses(_: Event) -> std::result::Result<(), &'static str> {
    Err("not today")
}

/// Panics without output.
fn panics() {
    std::panic::resume_unwind(Box::new("as a scenario wants it"));
}

/// So many envelopes of 30 aggregates.
async fn envelopes(bus: &EventBus, count: usize) -> Answer {
    for number in 0..count {
        let envelope = Envelope::new(format!("order-{}", number % 30), "Counted", &number)?;
        bus.publish_envelope(ORDERS, envelope).await?;
    }
    Ok(())
}

/// Does it again and again, as long as the process lives.
fn again<Fut>(bus: &EventBus, act: impl Fn(EventBus) -> Fut + Send + 'static)
where
    Fut: Future<Output = Answer> + Send,
{
    let bus = bus.clone();
    tokio::spawn(async move {
        while act(bus.clone()).await.is_ok() {
            tokio::time::sleep(SOON).await;
        }
    });
}
