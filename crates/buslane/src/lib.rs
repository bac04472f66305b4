#![doc = include_str!("../README.md")]

mod bus;
mod classify;
pub mod config;
mod error;
mod flow;
mod metrics;
mod retry;
mod terminal;

pub use bus::{EventBus, ShutdownReport, Status, Subscription, SubscriptionBuilder};
pub use buslane_core as core;
pub use buslane_core::{
    Envelope, EnvelopeError, Event, Handler, HandlerError, Headers, Kind, Lag, Message, PublishError, RawJson, Receipt,
    Record, Topic, TopicCompression, TopicSettings, TopicStrategy, Verdict,
};
pub use classify::{Class, Classifier, classify};
pub use config::{Config, ConfigError, PoolChoice};
pub use error::BusError;
pub use flow::{Extractor, HandlerTimedOut};
pub use retry::Retry;
pub use terminal::{DeadLetterFormat, Terminal};
