#![doc = include_str!("../README.md")]

mod engine;
mod job_box;
mod metrics;
mod pools;
mod running;
mod shadows;
mod submit;
mod worker;
mod worker_pool;

pub use buslane_lanes::{Bounds, MigrationProgress, Mode, SLOTS, SlotCounts};
pub use engine::{Engine, EngineConfig};
pub use metrics::LatencyRecorder;
pub use metrics::{POOL_METRICS, PoolMetrics};
pub use pools::{ACTOR, KEYED, Pools};
pub use worker::{OnPanic, PanicPayload, Worker};
pub use worker_pool::{Crew, Driver, PoolSpec, WorkerPool};
