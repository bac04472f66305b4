//! The bus: what an application holds.

mod builder;
mod connect;
#[cfg(feature = "kafka")]
mod kafka;
mod publish;
mod shutdown;
mod subscribe;
mod topics;

pub use builder::SubscriptionBuilder;
pub use shutdown::ShutdownReport;
pub use subscribe::Subscription;

use crate::{BusError, Config, flow::Flow};
use buslane_core::{Broker, PoolStats, Topic};
use parking_lot::Mutex;
use shutdown::Closing;
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use topics::Topics;

/// An event bus: publishes, subscribes, and runs every aggregate in a lane of its own.
///
/// Cloning is cheap and gives the same bus.
///
/// # Drop behaviour
/// Dropping the last clone without [`EventBus::shutdown`] is like a crash: handlers are cancelled at their next
/// `.await`, and what was not settled is delivered again. A handler that holds a clone keeps the bus alive until
/// it is shut down.
#[derive(Clone)]
pub struct EventBus(Arc<Inner>);

struct Inner {
    config: Config,
    flow: Arc<Flow>,
    broker: Arc<dyn Broker>,
    topics: Topics,
    /// Topics that the broker reads for this bus.
    joined: Mutex<BTreeSet<Topic>>,
    /// Held while the broker changes what it reads for this bus: one change at a time.
    joining: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    on_reconnect: Arc<Mutex<Vec<ReconnectCallback>>>,
    closing: Closing,
    /// Ends the bus's tasks when the last clone goes.
    _alive: DropGuard,
}

type ReconnectCallback = Arc<dyn Fn() + Send + Sync>;

/// What a bus is doing at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Which pool runs the lanes: `keyed` or `actor`.
    pub pool: &'static str,
    /// Figures of the pool.
    pub lanes: PoolStats,
    /// Topics that are read for this bus and have no handler: their messages are held.
    pub held_topics: Vec<Topic>,
    /// Whether recovery mode is on.
    pub recovery_mode: bool,
    /// Whether the bus is shut down, or shutting down.
    pub closed: bool,
}

impl EventBus {
    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What the bus is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let joined = self.0.joined.lock().clone();
        let flow = &self.0.flow;
        Status {
            pool: flow.pool.name(),
            lanes: flow.pool.stats(),
            held_topics: joined.into_iter().filter(|topic| flow.registry.get(topic).is_none()).collect(),
            recovery_mode: self.is_in_recovery_mode(),
            closed: self.0.closing.has_begun(),
        }
    }

    /// Figures of the pool, without a look at the topics.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.0.flow.pool.stats()
    }

    /// Whether a topic has a handler. One look at a snapshot, and one at its name.
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.0.topics.get(topic).is_ok_and(|topic| self.0.flow.registry.get(&topic).is_some())
    }

    /// Which pool runs the lanes: `keyed` or `actor`.
    #[must_use]
    pub fn pool_name(&self) -> &'static str {
        self.0.flow.pool.name()
    }

    /// Calls `callback` each time the connection to the broker is back, from a task of the bus. It must not block.
    pub fn on_reconnect(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.0.on_reconnect.lock().push(Arc::new(callback));
    }

    /// Turns recovery mode on or off: while it is on, everything that has a key is processed in the order of its
    /// key, messages of unordered subscriptions too. Messages that are in the lanes already stay where they are.
    pub fn set_recovery_mode(&self, active: bool) {
        if self.0.flow.recovery.swap(active, Relaxed) != active {
            self.0.flow.services.metrics.recovery(active);
            if active {
                tracing::warn!("recovery mode entered");
            } else {
                tracing::warn!("recovery mode left");
            }
        }
    }

    /// Whether recovery mode is on.
    #[must_use]
    pub fn is_in_recovery_mode(&self) -> bool {
        self.0.flow.recovery.load(Relaxed)
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
