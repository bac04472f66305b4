#![doc = include_str!("../README.md")]

mod config;
mod pool;
mod restarts;
mod seat;
mod supervisor;

pub use buslane_lanes::{Bounds, Mode};
pub use config::ActorPoolConfig;
pub use pool::ActorPool;
