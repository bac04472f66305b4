#![doc = include_str!("../README.md")]

mod bounds;
mod boxes;
mod count;
mod engine;
mod lanes;
mod metrics;
#[cfg(test)]
mod model;
mod parcel;
mod recorder;
mod report;
mod scheduler;
mod seats;
mod slab;
mod split;
mod stopping;
mod sync;
mod tray;
mod waiters;
mod worker;

pub use bounds::{Bounds, Refusal};
pub use count::{Counts, End, Observer};
pub use engine::{Engine, EngineConfig};
pub use lanes::{LaneKind, LaneRef, LaneStats, Lanes};
pub use metrics::{POOL_METRICS, PoolMetrics};
pub use recorder::Recorder;
pub use scheduler::{Item, Mode, Next, Scheduler, Tick};
pub use split::{Progress, Refused, SLOTS, Side, SlotCounts, Split, slot_of};
pub use stopping::Stopping;
pub use tray::Ended;
pub use worker::{OnPanic, PanicPayload, Worker};
