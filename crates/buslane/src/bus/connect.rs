//! From a configuration to a running bus.

use super::{EventBus, Inner, ReconnectCallback, alive, shutdown::Closing, topics::Topics};
use crate::{
    BusError, Config, PoolChoice,
    config::LaneMode,
    flow::{Flow, Registry, Services, Suspects, pump},
    metrics::BusMetrics,
};
use buslane_actor::{ActorPool, ActorPoolConfig};
use buslane_core::{Backend, Broker, BrokerEvent, Pool};
use buslane_keyed::{Bounds, KeyedPool, KeyedPoolConfig, Mode};
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig};
use parking_lot::Mutex;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

impl EventBus {
    /// Connects to the broker that the configuration names, and starts the pool it chooses.
    ///
    /// `memory://` is an embedded broker of this bus alone; [`EventBus::with_broker`] shares one. `kafka://` needs the
    /// cargo feature `kafka`.
    ///
    /// # Errors
    /// A rule that the configuration breaks, a broker that this build does not contain, or why the broker did not
    /// take the announced topics.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: Config) -> Result<Self, BusError> {
        config.validate()?;
        match config.url.backend() {
            Backend::Memory => {
                let memory = MemoryConfig {
                    partitions: config.memory.partitions,
                    max_messages: config.memory.max_messages,
                    max_bytes: config.memory.max_bytes,
                    ..MemoryConfig::default()
                };
                let broker = MemoryBroker::new(memory).map_err(|error| crate::ConfigError::Rule {
                    key: "memory".to_owned(),
                    rule: error.to_string(),
                    found: String::new(),
                })?;
                let mut member = MemberOptions::new(&*config.group);
                member.publish_timeout = config.publish_timeout;
                let member = broker.member(member);
                Self::with_broker(config, Arc::new(member)).await
            }
            #[cfg(feature = "kafka")]
            Backend::Kafka => {
                let broker = super::kafka::connect(&config).await?;
                Self::with_broker(config, Arc::new(broker)).await
            }
            #[cfg(not(feature = "kafka"))]
            Backend::Kafka => {
                Err(BusError::Backend { scheme: "kafka", hint: "build buslane with the cargo feature kafka" })
            }
            other => {
                Err(BusError::Backend { scheme: other.as_str(), hint: "this release has memory:// and kafka:// alone" })
            }
        }
    }

    /// Starts a bus on a broker that is connected already: a shared [`MemoryBroker`], or one of your own.
    ///
    /// The pool is chosen by the settings of the broker's backend.
    ///
    /// # Errors
    /// A rule that the configuration breaks, or why the broker did not take the announced topics.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn with_broker(config: Config, broker: Arc<dyn Broker>) -> Result<Self, BusError> {
        config.validate_for(broker.backend())?;
        let choice = config.pools_for(broker.backend());
        let pool = make_pool(&choice, broker.backend());
        info!(pool = pool.name(), chosen_by = %choice.chosen_by, "pool chosen");
        let reading = CancellationToken::new();
        let services = Arc::new(Services {
            broker: Arc::clone(&broker),
            metrics: BusMetrics::bind(broker.backend()),
            suspects: Suspects::default(),
        });
        let flow = Arc::new(Flow {
            pool,
            registry: Registry::new(),
            services,
            round_robin: 0.into(),
            recovery: false.into(),
            lane_scope: config.lane_scope,
            reading: reading.clone(),
        });
        let on_reconnect = Arc::default();
        let tasks = TaskTracker::new();
        tasks.spawn(serve(Arc::clone(&flow), Arc::clone(&broker), Arc::clone(&on_reconnect), tasks.clone()));
        let announced = config.topics.clone();
        let bus = Self(Arc::new(Inner {
            config,
            flow,
            broker,
            topics: Topics::new(),
            joined: Mutex::default(),
            joining: tokio::sync::Mutex::default(),
            tasks,
            on_reconnect,
            closing: Closing::new(),
            _alive: alive(&reading),
        }));
        bus.announce(announced).await?;
        Ok(bus)
    }
}

/// Makes the chosen pool.
fn make_pool(choice: &PoolChoice, backend: Backend) -> Arc<dyn Pool> {
    if choice.use_actor {
        let pool = &choice.actor;
        Arc::new(ActorPool::new(ActorPoolConfig {
            actors: pool.pool_size,
            max_restarts: pool.max_restarts as usize,
            restart_window: pool.restart_window,
            cool_down: pool.cool_down,
            wait_timeout: pool.wait_timeout,
            bounds: Bounds {
                messages: pool.pool_size * pool.inbox_size,
                bytes: pool.max_bytes,
                lane_messages: pool.lane_limit,
                parked_messages: pool.parked_messages,
                parked_bytes: pool.parked_bytes,
            },
            backend: backend.as_str(),
            ..ActorPoolConfig::default()
        }))
    } else {
        let pool = &choice.keyed;
        Arc::new(KeyedPool::new(KeyedPoolConfig {
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
                parked_messages: pool.parked_messages,
                parked_bytes: pool.parked_bytes,
            },
            default_handler: None,
            backend: backend.as_str(),
        }))
    }
}

/// Serves the broker's events until it is closed or the bus is gone.
async fn serve(
    flow: Arc<Flow>,
    broker: Arc<dyn Broker>,
    on_reconnect: Arc<Mutex<Vec<ReconnectCallback>>>,
    tasks: TaskTracker,
) {
    loop {
        let event = tokio::select! {
            event = broker.next_event() => event,
            () = flow.reading.cancelled() => None,
        };
        match event {
            None => return,
            Some(BrokerEvent::Assigned(intake)) => {
                let flow = Arc::clone(&flow);
                tasks.spawn(async move {
                    let reading = flow.reading.clone();
                    // The token ends a bus that was dropped; a shutdown ends the intake before.
                    reading.run_until_cancelled_owned(pump(flow, intake)).await
                });
            }
            Some(BrokerEvent::Disconnected { reason }) => warn!(backend = %broker.backend(), reason, "broker lost"),
            Some(BrokerEvent::Failed(error)) => {
                error!(backend = %broker.backend(), %error, "broker failed, reading ended")
            }
            Some(BrokerEvent::Reconnected) => {
                info!(backend = %broker.backend(), "broker is back");
                let callbacks = on_reconnect.lock().clone();
                for callback in callbacks {
                    if catch_unwind(AssertUnwindSafe(|| callback())).is_err() {
                        error!("reconnect callback panicked");
                    }
                }
            }
            // An event of a later release says nothing to this one.
            Some(_) => {}
        }
    }
}
