#![doc = include_str!("../README.md")]

mod config;
mod driver;
mod restarts;
mod supervisor;
mod worker;

pub use buslane_pools::{Bounds, Mode, WorkerPool};
pub use config::ActorPoolConfig;
