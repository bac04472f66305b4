#![doc = include_str!("../README.md")]

mod driver;

pub use buslane_pools::{Bounds, Mode, WorkerPool};
pub use driver::KeyedPoolConfig;
