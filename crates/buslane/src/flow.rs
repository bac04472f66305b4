//! The way of a message through the bus: route, lane, attempt, verdict, settlement.
//!
//! Only the flow knows both brokers and pools. It reads intakes, finds the lane of each message and
//! submits jobs to the pool; the adapter gets the settlement when the job ends.

mod admission;
mod aggregate;
mod attempt;
mod dead_letter;
mod delivery_span;
mod envelope;
mod failing_keys;
mod pump;
mod registry;
mod regular;
mod route;
mod shadow;

pub(crate) use admission::{Rates, permits};
pub use attempt::HandlerTimedOut;
pub(crate) use attempt::{Erased, Policy, Services, TerminalPolicy};
pub(crate) use dead_letter::History;
pub(crate) use envelope::erase_envelopes;
pub(crate) use failing_keys::FailingKeys;
pub(crate) use pump::{Flow, pump};
pub use registry::Extractor;
pub(crate) use registry::{Pause, Registry, Subscribed};
pub(crate) use regular::erase_regular;
pub(crate) use route::{Routing, route};
pub(crate) use shadow::Shadow;
