//! The way of a message through the bus: route, lane, attempt, verdict, settlement.
//!
//! The flow is the only place that knows both sides. It reads intakes, finds each message's lane and hands jobs to
//! the pool; the adapter gets its settlement when the job ends.

mod attempt;
mod dead_letter;
mod envelope;
mod limit;
mod pump;
mod registry;
mod regular;
mod route;
mod suspects;

pub use attempt::HandlerTimedOut;
pub(crate) use attempt::{Erased, Policy, Services};
pub(crate) use envelope::erase_envelopes;
pub(crate) use limit::Limits;
pub(crate) use pump::pump;
pub(crate) use registry::{Registry, Subscribed};
pub(crate) use regular::erase_regular;
pub use route::Extractor;

use crate::config::LaneScope;
use buslane_core::Pool;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};
pub(crate) use suspects::Suspects;
use tokio_util::sync::CancellationToken;

/// What every part of the flow shares.
pub(crate) struct Flow {
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) registry: Registry,
    pub(crate) services: Arc<Services>,
    pub(crate) round_robin: AtomicU64,
    /// While set, everything that has a key goes by its key.
    pub(crate) recovery: AtomicBool,
    pub(crate) lane_scope: LaneScope,
    /// Cancelled when reading ends for good.
    pub(crate) reading: CancellationToken,
}
