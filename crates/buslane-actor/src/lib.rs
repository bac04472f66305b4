#![doc = include_str!("../README.md")]

mod driver;
mod supervisor;
mod worker;

pub use buslane_pools::{Bounds, Mode, WorkerPool};
pub use driver::ActorPoolConfig;
