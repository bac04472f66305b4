#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backlog;
mod bus;
mod classify;
pub mod config;
mod error;
mod flow;
mod health;
#[cfg(feature = "http")]
pub mod http;
pub mod metrics;
mod monitor;
mod process;
mod rate_limiter;
mod retry;
pub mod rollout;
mod state;
mod terminal;
pub mod trace;

pub use backlog::{
    BusEvent, PartitionBacklog, PublishBacklog, RecoveryCause, RecoveryPhase, RecoveryStatus,
    Severity,
};
pub use bus::{
    Drained, EventBus, Limits, Recovery, ReloadRefusal, ReloadReport, ShadowedSubscription,
    ShutdownReport, Status, Subscription, SubscriptionBuilder, Topics, Undrained,
};
pub use buslane_core::{
    Backend, Envelope, EnvelopeError, Event, Handler, HandlerError, Headers, Kind, Lag, LaneState,
    Message, PublishError, RawJson, Receipt, Record, Source, Topic, TopicCompression,
    TopicSettings, TopicStorage, TopicStrategy, TraceContext, Verdict, broker, check_aggregate_id,
    stable_hash,
};
pub use buslane_memory as memory;
pub use classify::{Class, Classifier, classify};
pub use config::{Config, ConfigError, PoolChoice, RateLimit};
pub use error::BusError;
pub use flow::{Extractor, HandlerTimedOut};
pub use health::{
    Component, ComponentHealth, Condition, Fault, FaultReport, Health, HealthMetrics, NotReady,
};
pub use retry::Retry;
pub use rollout::Rollout;
pub use state::{BlockedKey, StalledPartition};
pub use terminal::{DeadLetterFormat, Terminal};
