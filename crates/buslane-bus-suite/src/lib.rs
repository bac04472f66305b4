#![doc = include_str!("../README.md")]

pub mod backlog;
pub mod basics;
pub mod catching_up;
pub mod dead_letters;
pub mod delivery;
pub mod draining;
pub mod envelopes;
pub mod faults;
mod faulty_broker;
mod fixture;
mod harness;
pub mod health;
pub mod lifecycle;
pub mod limits;
mod log_capture;
pub mod logs;
pub mod metrics;
mod metrics_page;
pub mod order;
#[cfg(doctest)]
mod pages;
pub mod panics;
pub mod parking;
pub mod pressure;
pub mod recovery;
pub mod redelivery;
pub mod rollout;
pub mod routing;
mod scenarios;
mod seen;
pub mod shadow;
pub mod subscriptions;
pub mod terminal;
pub mod traces;

pub use faulty_broker::FaultyBroker;
pub use fixture::{BusFixture, Capabilities, Fault, PoolKind};
pub use harness::{BusHarness, check_unmet, each_pool, run};
pub use log_capture::{LogCapture, LogLine, SpanSeen};
pub use seen::{
    Note, Seen, envelope, events_of, fails, notes_events, notes_messages, notes_then_waits, now,
    publish, publish_numbers, waits_then_notes,
};
