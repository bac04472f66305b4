//! Loads that the benches and the measuring programs share. Not a part of the product.
//!
//! A load runs some work once and returns its cost. The programs in `src/bin` and the benches in
//! `benches` decide on comparisons, turns and limits.

#[cfg(feature = "brokers")]
pub mod broker;
mod bus;
mod figures;
mod jobs;
#[cfg(feature = "brokers")]
pub mod kafka;
mod lanes;
#[cfg(feature = "brokers")]
mod moves;
#[cfg(feature = "brokers")]
pub mod nats;
mod pools;
#[cfg(feature = "brokers")]
mod waiting;

pub use bus::{BATCH, Batches, Body, BusLoad, noop_bus};
pub use figures::{Cost, Figures, Target, cpu_time, median, peak_rss_bytes, two_threads};
pub use jobs::{HandlerClock, Jobs, Keys, SplitMix64, handler_alone, noop, waiting, yielding};
pub use lanes::{LaneLoad, Small};
#[cfg(feature = "brokers")]
pub use moves::Moves;
pub use pools::{MakePool, PacedLoad, PoolLoad, actor_pool, keyed_pool};
#[cfg(feature = "brokers")]
pub use waiting::WaitingLoad;
