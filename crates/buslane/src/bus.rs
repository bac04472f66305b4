//! The bus: what an application holds.

mod builder;
mod connect;
mod drained;
#[cfg(feature = "kafka")]
mod kafka;
mod limits;
#[cfg(feature = "nats")]
mod nats;
mod outgoing;
mod publish;
mod recovery;
mod reload;
mod scatter;
mod shadow;
mod shutdown;
mod subscribe;
mod topics;

pub use builder::SubscriptionBuilder;
pub use drained::{Drained, Undrained};
pub use limits::Limits;
pub(crate) use outgoing::Outgoing;
pub use recovery::Recovery;
pub use reload::{ReloadRefusal, ReloadReport};
pub use shadow::ShadowedSubscription;
pub use shutdown::ShutdownReport;
pub use subscribe::Subscription;
pub use topics::Topics;

use crate::{
    BusError, Config,
    backlog::{BusEvent, EventCallback, PartitionBacklog, PublishBacklog, RecoveryStatus},
    flow::Flow,
    health::{Health, HealthState},
    rollout::Rollout,
    state::{BlockedKey, StalledPartition},
    trace::Tracer,
};
use buslane_core::{Backend, Broker, LaneState, PoolStats, Topic};
use outgoing::PublishLimits;
use parking_lot::Mutex;
use scatter::Scatter;
use shutdown::Closing;
use std::{collections::BTreeSet, fmt, sync::Arc};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use topics::TopicNames;

/// An event bus: publishes, subscribes, and runs every aggregate in a lane of its own.
///
/// Cloning is cheap and gives the same bus.
///
/// # Drop behaviour
/// Dropping the last clone without [`EventBus::shutdown`] is like a crash: handlers are cancelled
/// at their next `.await`, and what was not settled is delivered again. A handler that holds a
/// clone keeps the bus alive until it is shut down.
#[derive(Clone)]
pub struct EventBus(Arc<Inner>);

struct Inner {
    config: Config,
    /// That, with what was reloaded since.
    running: Mutex<Config>,
    flow: Arc<Flow>,
    health: Arc<HealthState>,
    broker: Arc<dyn Broker>,
    topics: TopicNames,
    /// Topics that the broker reads for this bus.
    joined: Mutex<BTreeSet<Topic>>,
    /// Held while the broker changes what it reads for this bus: one change at a time.
    joining: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    on_reconnect: Arc<Mutex<Vec<ReconnectCallback>>>,
    on_event: Arc<Mutex<Vec<EventCallback>>>,
    outgoing: Arc<Outgoing>,
    publish_limits: PublishLimits,
    closing: Closing,
    scatter: Scatter,
    /// Ends the bus's tasks when the last clone goes.
    _alive: DropGuard,
}

type ReconnectCallback = Arc<dyn Fn() + Send + Sync>;

/// What a bus is doing at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Which pool runs the lanes: `keyed` or `actor`; `split` while both do, see
    /// [`EventBus::rollout`].
    pub pool: &'static str,
    /// Figures of the pool.
    pub lanes: PoolStats,
    /// Topics that are read for this bus and have no handler: their messages are held.
    pub held_topics: Vec<Topic>,
    /// Partitions that wait for room: behind a full lane, a full pool, or more blocked messages
    /// than there may be. What is named here for long holds a key that fails, or has one that is
    /// too busy.
    pub stalled_partitions: Vec<StalledPartition>,
    /// Keys that are out of attempts and wait, those blocked longest first: 1,000 at most.
    pub blocked: Vec<BlockedKey>,
    /// All keys that are blocked.
    pub blocked_keys: usize,
    /// Partitions that are behind, as of the last look.
    pub backlog: Vec<PartitionBacklog>,
    /// What this bus publishes and the broker has not answered, as of the last look.
    pub publish_backlog: PublishBacklog,
    /// Whether recovery mode is on.
    pub recovery_mode: bool,
    /// Where it stands, and what it lets through.
    pub recovery: RecoveryStatus,
    /// Whether the bus is shut down, or shutting down.
    pub closed: bool,
}

impl EventBus {
    /// The configuration it was made with, without what has changed since.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Which broker it speaks to.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.0.broker.backend()
    }

    /// What the bus is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let joined = self.0.joined.lock().clone();
        let flow = &self.0.flow;
        let blocked = &flow.state.blocked;
        Status {
            pool: flow.pool.name(),
            lanes: flow.pool.stats(),
            held_topics: joined
                .into_iter()
                .filter(|topic| flow.registry.get(topic).is_none())
                .collect(),
            stalled_partitions: flow.state.stalls.all(),
            blocked: blocked.all(),
            blocked_keys: blocked.count(),
            backlog: flow.backlog.backlog(),
            publish_backlog: flow.backlog.publish_backlog(),
            recovery_mode: flow.backlog.is_recovering(),
            recovery: flow.backlog.recovery(),
            closed: self.0.closing.has_begun(),
        }
    }

    /// Figures of the pool, as in [`Status::lanes`], without the cost of looking at the topics.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.0.flow.pool.stats()
    }

    /// The health of the bus now: its faults by name, and whether it is live and ready.
    ///
    /// Makes a check of its own without asking the broker. What only the broker can tell is as of
    /// its last answers: a task of the bus pings it every
    /// [`check_interval`](crate::config::HealthConfig::check_interval) (1 s), and asks for the lag
    /// about every half of [`partition_limit`](crate::config::HealthConfig::partition_limit) (5 s).
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health.check()
    }

    /// The rollout of this bus: the share of its keys that the actor pool runs.
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        Rollout::new(Arc::clone(&self.0.flow.rollout))
    }

    /// Calls `callback` each time the connection to the broker is back, from a task of the bus. It
    /// must not block.
    pub fn on_reconnect(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.0.on_reconnect.lock().push(Arc::new(callback));
    }

    /// Calls `callback` with each change of the bus's condition, in order, from a task of the bus.
    /// It must not block. What has happened before is not told: a bus can begin in recovery mode.
    /// [`EventBus::status`] says how it stands.
    pub fn on_event(&self, callback: impl Fn(&BusEvent) + Send + Sync + 'static) {
        self.0.on_event.lock().push(Arc::new(callback));
    }

    /// Installs a tracer: it makes the ids of deliveries, and names the context of publishes.
    /// Returns `false`, keeping the existing one, if one is installed. Call it before the first
    /// subscription: it does not see deliveries that have begun.
    pub fn set_tracer(&self, tracer: impl Tracer) -> bool {
        self.0.flow.services.tracer.set(Box::new(tracer)).is_ok()
    }

    /// What is known of a key: one that has messages of `topic`, or had some not long ago. `None`
    /// for one that was never seen, or is forgotten. Where a lane holds a key's messages of all
    /// topics, it does not matter which of them is named.
    ///
    /// # Errors
    /// A topic name that breaks a rule.
    pub fn key_state(
        &self,
        topic: &str,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<LaneState>, BusError> {
        let topic = self.0.topics.get(topic)?;
        let flow = &self.0.flow;
        Ok(flow.pool.lane(flow.routing.lane_scope.lane(&topic, key.as_ref())))
    }

    pub(crate) fn flow(&self) -> &Flow {
        &self.0.flow
    }

    /// Runs a task until it ends; a shutdown waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }

    fn open(&self) -> Result<&Inner, BusError> {
        if self.0.closing.has_begun() { Err(BusError::Closed) } else { Ok(&self.0) }
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("backend", &self.0.broker.backend())
            .field("pool", &self.0.flow.pool.name())
            .finish_non_exhaustive()
    }
}

/// Cancels reading when dropped; held by the bus and by nothing that the bus owns.
fn alive(token: &CancellationToken) -> DropGuard {
    token.clone().drop_guard()
}
