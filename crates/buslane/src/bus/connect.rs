//! From a configuration to a running bus.

use super::{
    EventBus, Inner, publish::PublishLimits, publish_targets::PublishTargets,
    reconnect::ReconnectCallbacks, shutdown::Closing, subscription::Scatter,
};
use crate::{
    BusError, Class, Classifier, Config, PoolChoice,
    backlog::{BacklogControl, deliver_events},
    classify,
    config::{self, LaneMode, ProbeConfig},
    flow::{FailingKeys, Flow, Rates, Registry, Routing, Services, pump},
    health::{HealthState, Observed},
    in_flight::InFlightPublishes,
    metrics::{BusMetrics, Limited},
    monitor::{Intervals, Monitor},
    parking::Owners,
    rollout::{Controller, Runs, boundary},
    state::{BlockedKeys, BusState, TaskGuard},
};
#[cfg(feature = "actor")]
use buslane_actor::ActorPoolConfig;
use buslane_core::{
    Backend, Broker, BrokerEvent, HandlerError, Pool, Topic, TopicSettings, TopicStrategy, excerpt,
};
#[cfg(feature = "kafka")]
use buslane_kafka::KafkaBroker;
use buslane_keyed::KeyedPoolConfig;
use buslane_memory::{MemberOptions, MemoryBroker};
#[cfg(feature = "nats")]
use buslane_nats::NatsBroker;
use buslane_pools::{Bounds, Mode, Pools};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// A bus in the making: [`EventBus::builder`] starts it, [`connect`](Self::connect) begins it.
///
/// ```
/// use buslane::{Config, EventBus, memory::{MemberOptions, MemoryBroker}};
/// use buslane_keyed::KeyedPoolConfig;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = MemoryBroker::new(Default::default())?;
/// let bus = EventBus::builder(Config::default())
///     .broker(Arc::new(broker.member(MemberOptions::new("orders"))))
///     .pool(Arc::new(KeyedPoolConfig { workers: 16, ..Default::default() }.start()))
///     .connect()
///     .await?;
/// # bus.close().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `connect`"]
pub struct BusBuilder {
    /// Boxed: callers hold futures with a builder in them.
    config: Box<Config>,
    broker: Option<Arc<dyn Broker>>,
    own: Own,
}

/// What a program brings along in place of a default.
#[derive(Default)]
struct Own {
    pool: Option<Arc<dyn Pool>>,
    classifier: Option<Classifier>,
}

impl BusBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self { config: Box::new(config), broker: None, own: Own::default() }
    }

    /// A broker that is connected already: a shared [`MemoryBroker`], or an implementation of
    /// [`Broker`] of your own. Default: the broker that the configuration names. The settings of
    /// the broker's backend apply.
    pub fn broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.broker = Some(broker);
        self
    }

    /// A running pool that runs every message of the bus, in place of the keyed and the actor pool:
    /// a [`WorkerPool`](buslane_pools::WorkerPool) with a driver of your own, as in the example
    /// `own_runtime`, or any other implementation of [`Pool`]. Default: the pool that the
    /// configuration chooses.
    ///
    /// The bus stops the pool when it shuts down, so no two buses share one. The pool's figures
    /// appear in health and status; its metrics are its own. The settings of both pools have no
    /// effect, the rollout answers [`RolloutError::OwnPool`](crate::rollout::RolloutError::OwnPool),
    /// and a subscription cannot have a [`shadow`](crate::SubscriptionBuilder::shadow).
    pub fn pool(mut self, pool: Arc<dyn Pool>) -> Self {
        self.own.pool = Some(pool);
        self
    }

    /// Decides for every subscription without a
    /// [classifier](crate::SubscriptionBuilder::classifier) of its own which errors are worth
    /// another attempt, of those that the configuration does not [name](crate::ErrorClasses).
    /// Default: [`classify`].
    pub fn classifier(
        mut self,
        classifier: impl Fn(&HandlerError) -> Class + Send + Sync + 'static,
    ) -> Self {
        self.own.classifier = Some(Arc::new(classifier));
        self
    }

    /// Connects to the broker, and begins the work.
    ///
    /// # Errors
    /// As [`EventBus::connect`]. With [`pool`](Self::pool), also a configuration that enables the
    /// actor pool.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(self) -> Result<EventBus, BusError> {
        let Self { config, broker, own } = self;
        // Boxed: the future of a bus in the making is large, and callers hold it.
        match broker {
            Some(broker) => Box::pin(begin(*config, broker, own)).await,
            None => Box::pin(connect(*config, own)).await,
        }
    }
}

/// Begins a bus on the broker that the configuration names.
async fn connect(config: Config, own: Own) -> Result<EventBus, BusError> {
    config.validate()?;
    match config.url.backend() {
        Backend::Memory => {
            let broker = MemoryBroker::new(config.memory.settings.clone())
                .map_err(crate::ConfigError::from)?;
            // Created here: nothing outside of this process can do it.
            let probe =
                Some(&config.health.probe).filter(|probe| probe.enabled).map(|probe| &probe.topic);
            for topic in config.topics.iter().chain(probe) {
                let settings = TopicSettings::default();
                broker.configure_topic(
                    &Topic::new(topic)?,
                    &settings,
                    TopicStrategy::CreateOnly,
                )?;
            }
            let mut member = MemberOptions::new(&*config.group);
            member.publish_timeout = config.publish_timeout;
            let member = broker.member(member);
            begin(config, Arc::new(member), own).await
        }
        #[cfg(feature = "kafka")]
        Backend::Kafka => {
            let broker = Box::pin(kafka_broker(&config)).await?;
            begin(config, Arc::new(broker), own).await
        }
        #[cfg(not(feature = "kafka"))]
        Backend::Kafka => Err(BusError::Backend {
            scheme: "kafka",
            hint: "build buslane with the cargo feature kafka",
        }),
        #[cfg(feature = "nats")]
        Backend::Nats => {
            let broker = Box::pin(nats_broker(&config)).await?;
            begin(config, Arc::new(broker), own).await
        }
        #[cfg(not(feature = "nats"))]
        Backend::Nats => Err(BusError::Backend {
            scheme: "nats",
            hint: "build buslane with the cargo feature nats",
        }),
    }
}

/// Begins a bus on this broker, with a pool of the program or those of the configuration.
async fn begin(config: Config, broker: Arc<dyn Broker>, own: Own) -> Result<EventBus, BusError> {
    config.validate_for(broker.backend())?;
    let choice = config.pools_for(broker.backend());
    let percent = choice.percent;
    let runs = match own.pool {
        Some(pool) => {
            config.refuse_actor_pool(
                broker.backend(),
                "must be false: the program has a pool of its own",
            )?;
            info!(pool = pool.name(), "pool of the program");
            Runs::Own(pool)
        }
        None => {
            let pools = make_pools(&choice, boundary(percent), broker.backend());
            info!(pool = pools.name(), chosen_by = %choice.chosen_by, percent, percent_by = %choice.percent_by, "pool chosen");
            Runs::Both(Arc::new(pools))
        }
    };
    let pool = runs.pool();
    info!(group = config.group, backend = %broker.backend(), "reading as group");
    let reading = CancellationToken::new();
    let metrics = Arc::new(BusMetrics::bind(broker.backend()));
    let state = Arc::new(BusState::new(BlockedKeys::new(metrics.blocked_keys()), reading.clone()));
    let (backlog, events) = BacklogControl::new(&config, &pool, &metrics);
    let backlog = Arc::new(backlog);
    let rates = Rates::new(&config.limits, metrics.rate_limit_waits(Limited::Subscribe))?;
    let publish_limits =
        PublishLimits::new(&config.limits, metrics.rate_limit_waits(Limited::Publish));
    let (held, targets) = (metrics.publishes_held(), PublishTargets::new(&metrics));
    let set_by = choice.percent_by.to_string();
    let (rollout, lane_scope) = (&config.rollout, config.lane_scope);
    let rollout = Controller::new(runs, percent, &set_by, rollout, lane_scope, &metrics);
    let registry = Arc::new(Registry::new());
    let observed = Observed {
        broker: Arc::clone(&broker),
        pool: Arc::clone(&pool),
        subscriptions: Arc::clone(&registry) as _,
        backlog: Arc::clone(&backlog),
        metrics: Arc::clone(&metrics),
        state: Arc::clone(&state),
    };
    let health = Arc::new(HealthState::new(&config.health, broker.backend(), observed));
    let services = Arc::new(Services {
        broker: Arc::clone(&broker),
        metrics,
        failing_keys: FailingKeys::default(),
        owners: Owners::default(),
        group: config.group.clone(),
        tracer: OnceLock::new(),
        state: Arc::clone(&state),
    });
    let flow = Arc::new(Flow {
        registry,
        routing: Routing::new(config.lane_scope),
        rates,
        backlog: Arc::clone(&backlog),
        rollout: Arc::clone(&rollout),
        pool,
        services,
        state: Arc::clone(&state),
    });
    let on_reconnect =
        Arc::new(ReconnectCallbacks::new(flow.services.metrics.reconnect_failures()));
    let tasks = TaskTracker::new();
    tasks.spawn(serve(
        Arc::clone(&flow),
        Arc::clone(&health),
        Arc::clone(&broker),
        Arc::clone(&on_reconnect),
        tasks.clone(),
    ));
    let in_flight = Arc::new(InFlightPublishes::new(
        config.publish_fast_path,
        config.publish_timeout,
        move || held.increment(1),
    ));
    let (closing, on_event) = (Closing::new(), Arc::default());
    tasks.spawn({
        let (in_flight, ended) = (Arc::clone(&in_flight), closing.ended());
        async move { ended.run_until_cancelled(in_flight.watch()).await }
    });
    tasks.spawn(Arc::clone(&on_reconnect).run(Arc::clone(&state)));
    tasks.spawn(deliver_events(events, Arc::clone(&on_event), Arc::clone(&state)));
    let monitor = Monitor {
        broker: Arc::clone(&broker),
        state: Arc::clone(&state),
        in_flight: Arc::clone(&in_flight),
        backlog,
        health: Arc::clone(&health),
        rollout,
        intervals: Intervals::of(&config),
    };
    tasks.spawn(monitor.run());
    let (announced, probe) = (config.topics.clone(), config.health.probe.clone());
    let bus = EventBus(Arc::new(Inner {
        running: Mutex::new(config.clone()),
        config,
        flow,
        health,
        broker,
        targets,
        classifier: own.classifier.unwrap_or_else(|| Arc::new(classify)),
        joined: Mutex::default(),
        joining: tokio::sync::Mutex::default(),
        tasks,
        on_reconnect,
        on_event,
        in_flight,
        publish_limits,
        closing,
        scatter: Scatter::default(),
        _alive: reading.drop_guard(),
    }));
    if let Some(plan) = choice.plan {
        // Cannot fail: nothing else has the bus yet.
        let _ = bus.0.flow.rollout.configure(choice.percent, Some(plan), &set_by);
    }
    bus.topics().announce(announced).await?;
    // Boxed: otherwise every future that starts a bus reserves space for it.
    Box::pin(begin_probes(&bus, probe)).await?;
    Ok(bus)
}

/// Subscribes to the topic of the probes, and begins to send them, where they are enabled.
async fn begin_probes(bus: &EventBus, config: ProbeConfig) -> Result<(), BusError> {
    let Some(probe) = bus.0.health.probe() else { return Ok(()) };
    bus.subscription(probe.topic()).messages(probe.handler()).await?;
    let (broker, state) = (Arc::clone(&bus.0.broker), Arc::clone(&bus.0.flow.state));
    bus.0.tasks.spawn(Arc::clone(probe).send_all(broker, state, config));
    Ok(())
}

#[cfg(feature = "kafka")]
async fn kafka_broker(config: &Config) -> Result<KafkaBroker, BusError> {
    use buslane_kafka::ConnectError;

    KafkaBroker::connect(config::kafka_settings(config)?).await.map_err(|error| match error {
        ConnectError::Config(rule) => config::kafka_refused(rule).into(),
        ConnectError::Broker(error) => error.into(),
        other => not_connected("kafka", other, config),
    })
}

#[cfg(feature = "nats")]
async fn nats_broker(config: &Config) -> Result<NatsBroker, BusError> {
    use buslane_nats::ConnectError;

    NatsBroker::connect(config::nats_settings(config)?).await.map_err(|error| match error {
        ConnectError::Config(rule) => config::nats_refused(rule).into(),
        ConnectError::Broker(error) => error.into(),
        other => not_connected("nats", other, config),
    })
}

/// An error of a later release of an adapter.
#[cfg(any(feature = "kafka", feature = "nats"))]
fn not_connected(key: &str, error: impl std::error::Error, config: &Config) -> BusError {
    let (rule, found) = (error.to_string(), config.url.to_string());
    config::ConfigError::Rule { key: key.to_owned(), rule, found }.into()
}

/// Makes both pools. A pool starts when it gets its first slot.
fn make_pools(choice: &PoolChoice, boundary: usize, backend: Backend) -> Pools {
    let keyed = keyed_pool(&choice.keyed, backend);
    let keyed_messages = keyed.bounds.messages;
    #[cfg(feature = "actor")]
    let (other, other_messages) = {
        let actor = actor_pool(&choice.actor, backend);
        let messages = actor.bounds.messages;
        (actor.spec(), messages)
    };
    // It never gets a slot: the configuration and the rollout refuse it a share.
    #[cfg(not(feature = "actor"))]
    let (other, other_messages) = (keyed.clone().spec(), keyed_messages);
    Pools::new([keyed.spec(), other], boundary, keyed_messages.min(other_messages))
}

#[cfg(feature = "actor")]
fn actor_pool(pool: &config::ActorPoolConfig, backend: Backend) -> ActorPoolConfig {
    ActorPoolConfig {
        actors: pool.pool_size,
        max_restarts: pool.max_restarts as usize,
        restart_window: pool.restart_window,
        cool_down: pool.cool_down,
        wait_timeout: pool.wait_timeout,
        bounds: Bounds {
            messages: pool.pool_size * pool.inbox_size,
            bytes: pool.max_bytes,
            lane_messages: pool.lane_limit,
            failing_messages: pool.failing_messages,
            failing_bytes: pool.failing_bytes,
            keys: pool.max_processors,
            key_idle: pool.processor_idle,
        },
        backend: backend.as_str(),
        ..ActorPoolConfig::default()
    }
}

fn keyed_pool(pool: &config::KeyedPoolConfig, backend: Backend) -> KeyedPoolConfig {
    KeyedPoolConfig {
        workers: pool.worker_count,
        wait_timeout: pool.wait_timeout,
        mode: match pool.mode {
            LaneMode::Exclusive => Mode::Exclusive,
            LaneMode::Fixed => Mode::Fixed(pool.worker_count as u64),
        },
        bounds: Bounds {
            messages: pool.worker_count * pool.queue_size,
            bytes: pool.max_bytes,
            lane_messages: pool.lane_limit,
            failing_messages: pool.failing_messages,
            failing_bytes: pool.failing_bytes,
            keys: pool.max_processors,
            key_idle: pool.processor_idle,
        },
        default_handler: None,
        backend: backend.as_str(),
    }
}

/// Serves the broker's events until it is closed or the bus is gone.
async fn serve(
    flow: Arc<Flow>,
    health: Arc<HealthState>,
    broker: Arc<dyn Broker>,
    on_reconnect: Arc<ReconnectCallbacks>,
    tasks: TaskTracker,
) {
    let _guard = TaskGuard::new(&flow.state);
    loop {
        let event = tokio::select! {
            event = broker.next_event() => event,
            () = flow.state.reading.cancelled() => None,
        };
        match event {
            None => return,
            Some(BrokerEvent::Assigned(intake)) => {
                let flow = Arc::clone(&flow);
                tasks.spawn(async move {
                    let reading = flow.state.reading.clone();
                    // The token ends a bus that was dropped; a shutdown ends the intake before.
                    reading.run_until_cancelled_owned(pump(flow, intake)).await
                });
            }
            Some(BrokerEvent::Disconnected { reason }) => {
                warn!(backend = %broker.backend(), reason = %excerpt::error(&reason), "broker lost");
                health.lost(&reason);
            }
            Some(BrokerEvent::Failed(error)) => {
                error!(backend = %broker.backend(), error = %excerpt::error(&error), "broker failed, reading ended");
                health.failed(error.to_string());
            }
            Some(BrokerEvent::Reconnected) => {
                info!(backend = %broker.backend(), "broker is back");
                health.reconnected();
                on_reconnect.call();
            }
            // An event of a later release says nothing to this one.
            Some(_) => {}
        }
    }
}
