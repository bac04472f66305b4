#![doc = include_str!("../README.md")]
//!
//! It holds types and contracts only. It starts no runtime, no broker client and no thread.

pub mod broker;
mod capacity;
pub mod envelope;
pub mod excerpt;
pub mod handler;
pub mod headers;
pub mod job;
pub mod key;
mod latency;
mod layered;
pub mod message;
pub mod metric;
mod per_key;
pub mod pool;
mod secret;
pub mod settlement;
mod text;
pub mod topic;
pub mod trace;
pub mod verdict;
mod waits;

pub use broker::{
    Answer, Backend, Broker, BrokerCounts, BrokerError, BrokerEvent, Delivery, EventQueue, Intake,
    Lag, Progress, PublishError, Receipt, Record, Stragglers, SubscribeOptions, Symptom,
    SymptomKind, Symptoms,
};
pub use capacity::shrunk_capacity;
pub use envelope::{Envelope, EnvelopeError, Layout, RawJson};
pub use handler::{
    AttemptSlot, CatchPanic, ErasedHandler, Handler, Local, NextAttempt, Reattempt, Step, erase,
    judge, panic_text,
};
pub use headers::{Headers, HeadersBuilder};
pub use job::{Job, ParsedEnvelope};
pub use key::{AggregateIdError, check_aggregate_id, partition_for, stable_hash};
pub use latency::Latencies;
pub use layered::Layered;
pub use message::{Event, Kind, Message, Route, Source};
pub use metric::{Binder, Label, Metric, MetricKind, MetricScope, MetricUnit};
pub use per_key::PerKey;
pub use pool::{BoxFuture, LaneState, Pool, PoolStats, RunningJob, StopReport, SubmitError};
pub use secret::Secret;
pub use settlement::{HandlerPanicked, Outcome, Settle, Settlement};
pub use text::Text;
pub use topic::{Topic, TopicCompression, TopicError, TopicSettings, TopicStorage, TopicStrategy};
pub use trace::{TraceContext, TraceContextError};
pub use verdict::{HandlerError, IntoVerdict, Verdict};
pub use waits::{TooLong, Waits, Within};
