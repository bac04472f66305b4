#![doc = include_str!("../README.md")]

mod config;
mod pool;

pub use buslane_lanes::{Bounds, Mode};
pub use config::KeyedPoolConfig;
pub use pool::KeyedPool;
