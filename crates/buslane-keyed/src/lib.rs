#![doc = include_str!("../README.md")]

mod config;
mod driver;

pub use buslane_pools::{Bounds, Mode, WorkerPool};
pub use config::KeyedPoolConfig;
