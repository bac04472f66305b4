#![doc = include_str!("../README.md")]
//!
//! This crate is words and contracts: no runtime, no broker client, no thread.

pub mod broker;
pub mod envelope;
pub mod handler;
pub mod headers;
pub mod job;
pub mod key;
pub mod message;
pub mod pool;
pub mod settlement;
pub mod topic;
pub mod verdict;

pub use broker::{
    Answer, Backend, Broker, BrokerError, BrokerEvent, Delivery, Intake, Lag, PublishError, Receipt, Record,
    SubscribeOptions,
};
pub use envelope::{Envelope, EnvelopeError, Layout, RawJson};
pub use handler::{AttemptSlot, CatchPanic, ErasedHandler, Handler, Local, Retry, Step, erase, judge, panic_text};
pub use headers::{Headers, HeadersBuilder};
pub use job::{Job, JobState};
pub use key::{AggregateIdError, check_aggregate_id, partition_for, stable_hash};
pub use message::{Event, Kind, Message, Route, Source};
pub use pool::{BoxFuture, Pool, PoolStats, StopReport, SubmitError};
pub use settlement::{HandlerPanicked, Outcome, Settle, Settlement};
pub use topic::{Topic, TopicCompression, TopicError, TopicSettings, TopicStrategy};
pub use verdict::{HandlerError, IntoVerdict, Verdict};
