#![doc = include_str!("../README.md")]

pub mod backlog;
pub mod basics;
pub mod blocked;
pub mod chaos;
pub mod classes;
pub mod configuration;
pub mod dead_letters;
pub mod delivery;
pub mod drained;
pub mod draining;
pub mod envelopes;
pub mod failing_keys;
pub mod faults;
mod faulty_broker;
mod fixture;
pub mod groups;
mod harness;
pub mod health;
pub mod keys;
pub mod lanes;
pub mod lifecycle;
pub mod limits;
pub mod load;
pub mod lock_free;
mod log_capture;
pub mod logs;
pub mod metrics;
mod metrics_page;
pub mod order;
#[cfg(doctest)]
mod pages;
pub mod panics;
pub mod pauses;
pub mod pressure;
pub mod probes;
pub mod publishing;
pub mod rates;
pub mod recovery;
pub mod redelivery;
pub mod retries;
pub mod rollout;
pub mod routing;
mod run;
mod scenarios;
mod seen;
pub mod shadow;
mod spans;
pub mod subscriptions;
pub mod terminal;
pub mod traces;
mod traffic;
pub mod unhandled_topics;

pub use faulty_broker::FaultyBroker;
pub use fixture::{BusFixture, Capabilities, Fault, PoolKind};
pub use harness::{BusHarness, each_pool};
pub use log_capture::{LogCapture, LogLine};
pub use run::{check_unmet, run};
pub use seen::{
    Note, Seen, envelope, events_of, fails, notes_events, notes_messages, notes_then_waits, now,
    publish, publish_numbers, waits_then_notes,
};
pub use spans::SpanSeen;
