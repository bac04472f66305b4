#![doc = include_str!("../README.md")]
//!
//! # Which type is which
//!
//! | type | what it is | who makes it | who gets it |
//! |---|---|---|---|
//! | [`Envelope`] | one event of one aggregate, in the wire format | the publisher | [`EventBus::publish_envelope`] |
//! | [`Record`] | what is published: key, headers and body | the publisher; the bus for an envelope | [`EventBus::publish`], then the broker |
//! | [`Receipt`] | where the broker stored a record | the broker | the publisher |
//! | [`Message`] | a received record, with its source, offset and attempt | the broker | handlers of regular messages |
//! | [`Event`] | an [`Envelope`] with the [`Message`] that carried it | the bus | handlers of envelopes |
//! | [`broker::Delivery`] | a [`Message`] with the right to settle it | the broker | the bus |
//! | [`Job`](buslane_core::Job) | a delivery with its lane and its handler, in a pool | the bus | the pool |
//! | [`Verdict`] | the result of a handler | the handler | the bus |
//! | [`BusEvent`] | a change of the bus's state: a backlog, recovery mode | the bus | [`EventBus::on_event`] |
//! | [`broker::BrokerEvent`] | an assigned partition, a lost or restored connection | the broker | the bus |
//! | [`rollout::RolloutEvent`] | a changed share of the actor pool, a roll-back | the rollout | [`Rollout::watch`] |
//!
//! Applications meet envelopes, records, receipts, messages, events and verdicts. Deliveries, jobs
//! and broker events concern those who write a broker or a pool.
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
mod in_flight;
pub mod metrics;
mod monitor;
mod parking;
mod process;
mod rate_limiter;
mod retry;
pub mod rollout;
mod state;
pub mod trace;

pub use backlog::{
    BusEvent, PartitionBacklog, PublishBacklog, RecoveryCause, RecoveryPhase, RecoveryStatus,
    Severity,
};
pub use bus::{
    BusBuilder, Drained, EventBus, Limits, ParkedKey, Parking, Recovery, ReloadRefusal,
    ReloadReport, ShadowedSubscription, ShutdownReport, Status, Subscription, SubscriptionBuilder,
    Topics, Undrained,
};
pub use buslane_core::{
    Backend, Envelope, EnvelopeError, Event, Handler, HandlerError, Headers, Kind, Lag, LaneState,
    Message, Pool, PublishError, RawJson, Receipt, Record, Source, Text, Topic, TopicCompression,
    TopicSettings, TopicStorage, TopicStrategy, TraceContext, Verdict, broker, check_aggregate_id,
    stable_hash,
};
pub use buslane_memory as memory;
pub use classify::{Class, Classifier, ErrorClasses, classify};
pub use config::{Config, ConfigError, DeadLetterFormat, PoolChoice, RateLimit, Terminal};
pub use error::BusError;
pub use flow::{Extractor, HandlerTimedOut};
pub use health::{
    Component, ComponentHealth, Condition, Fault, FaultReport, Health, HealthMetrics, NotReady,
};
pub use retry::Retry;
pub use rollout::Rollout;
pub use state::{BlockedKey, StalledPartition};
