//! The way of a message through the bus: route, lane, attempt, verdict, settlement.
//!
//! The flow is the only place that knows both sides. It reads intakes, finds each message's lane
//! and hands jobs to the pool; the adapter gets its settlement when the job ends.

mod admission;
mod attempt;
mod blocked;
mod dead_letter;
mod delivery_span;
mod envelope;
mod failing_keys;
mod left;
mod pump;
mod registry;
mod regular;
mod route;
mod shadow;
mod sources;
mod stalls;
mod throttle;

pub(crate) use admission::permits;
pub use attempt::HandlerTimedOut;
pub(crate) use attempt::{Erased, Policy, Services, Troubles};
pub use blocked::BlockedKey;
pub(crate) use blocked::{BlockedKeys, Snapshot as Blocked};
pub(crate) use envelope::erase_envelopes;
pub(crate) use left::Left;
pub(crate) use pump::pump;
pub(crate) use registry::{Pause, Registry, Subscribed};
pub(crate) use regular::erase_regular;
pub use route::Extractor;
pub(crate) use shadow::Shadow;
pub(crate) use sources::Sources;
pub use stalls::StalledPartition;
pub(crate) use stalls::{Stalls, Waiting};
pub(crate) use throttle::Throttle;

use crate::{
    config::{LaneScope, RateLimit},
    metrics::Limited,
    operations::Operations,
    rollout::Controller,
};
use buslane_core::{Pool, Topic};
pub(crate) use failing_keys::FailingKeys;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};
use tokio_util::sync::CancellationToken;

/// What every part of the flow shares.
pub(crate) struct Flow {
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) registry: Registry,
    pub(crate) services: Arc<Services>,
    pub(crate) round_robin: AtomicU64,
    pub(crate) operations: Operations,
    /// How much is handled, of all topics.
    pub(crate) rate: Throttle,
    /// And of single topics. Looked at when a subscription begins, or a limit changes.
    pub(crate) topic_rates: Mutex<HashMap<Topic, Arc<Throttle>>>,
    pub(crate) lane_scope: LaneScope,
    pub(crate) stalls: Stalls,
    pub(crate) sources: Sources,
    pub(crate) watch: crate::health::Watch,
    pub(crate) rollout: Arc<Controller>,
    /// Cancelled when reading ends for good.
    pub(crate) reading: CancellationToken,
}

impl Flow {
    /// How much of a topic is handled.
    pub(crate) fn rate_of(&self, topic: &Topic) -> Arc<Throttle> {
        let mut rates = self.topic_rates.lock();
        let rate = rates.entry(topic.clone()).or_insert_with(|| Arc::new(self.rate(None)));
        Arc::clone(rate)
    }

    /// A limit for what is handled.
    pub(crate) fn rate(&self, limit: Option<RateLimit>) -> Throttle {
        Throttle::new(limit, self.services.metrics.rate_limit_waits(Limited::Subscribe))
    }
}
