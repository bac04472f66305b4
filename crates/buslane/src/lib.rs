#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod asked;
mod bus;
mod classify;
mod clock;
pub mod config;
mod error;
mod flow;
mod health;
#[cfg(feature = "http")]
pub mod http;
pub mod metrics;
mod operations;
mod retry;
pub mod rollout;
mod terminal;
pub mod trace;

pub use bus::{
    Drained, EventBus, ReloadRefusal, ReloadReport, ShadowedSubscription, ShutdownReport, Status,
    Subscription, SubscriptionBuilder, Undrained,
};
pub use buslane_core as core;
pub use buslane_core::{
    Envelope, EnvelopeError, Event, Handler, HandlerError, Headers, Kind, Lag, LaneState, Message,
    PublishError, RawJson, Receipt, Record, Topic, TopicCompression, TopicSettings, TopicStorage,
    TopicStrategy, TraceContext, Verdict,
};
pub use classify::{Class, Classifier, classify};
pub use config::{Config, ConfigError, PoolChoice, RateLimit};
pub use error::BusError;
pub use flow::{BlockedKey, Extractor, HandlerTimedOut, StalledPartition};
pub use health::{
    Component, ComponentHealth, Condition, Fault, FaultReport, Health, HealthMetrics, NotReady,
};
pub use operations::{
    BusEvent, PartitionBacklog, PublishBacklog, RecoveryCause, RecoveryPhase, RecoveryStatus,
    Severity,
};
pub use retry::Retry;
pub use rollout::Rollout;
pub use terminal::{DeadLetterFormat, Terminal};
