//! The way of a message through the bus: route, lane, attempt, verdict, settlement.
//!
//! The flow is the only place that knows both sides. It reads intakes, finds each message's lane
//! and hands jobs to the pool; the adapter gets its settlement when the job ends.

mod admission;
mod attempt;
mod dead_letter;
mod delivery_span;
mod envelope;
mod failing_keys;
mod pump;
mod rates;
mod registry;
mod regular;
mod route;
mod shadow;

pub(crate) use admission::permits;
pub use attempt::HandlerTimedOut;
pub(crate) use attempt::{Erased, Policy, Services};
pub(crate) use envelope::erase_envelopes;
pub(crate) use failing_keys::FailingKeys;
pub(crate) use pump::pump;
pub(crate) use rates::Rates;
pub(crate) use registry::{Pause, Registry, Subscribed};
pub(crate) use regular::erase_regular;
pub use route::Extractor;
pub(crate) use route::Routing;
pub(crate) use shadow::Shadow;

use crate::{operations::Operations, rollout::Controller, state::BusState};
use buslane_core::Pool;
use std::sync::Arc;

/// What the pumps of a bus share. Attempts see [`Services`] alone; health and the background tasks
/// see the [`BusState`].
pub(crate) struct Flow {
    pub(crate) registry: Arc<Registry>,
    pub(crate) routing: Routing,
    pub(crate) rates: Rates,
    pub(crate) operations: Arc<Operations>,
    pub(crate) rollout: Arc<Controller>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) services: Arc<Services>,
    pub(crate) state: Arc<BusState>,
}
