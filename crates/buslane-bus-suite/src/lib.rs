//! The contract of a whole bus as tests: each scenario is a test of its own, named for the
//! requirement it proves, and runs on every broker with both pools.
//!
//! A backend implements [`BusFixture`] and calls [`bus_suite!`]. Each scenario runs on a runtime of
//! its own with two workers, and fails when it leaves a task or a thread behind. The suites of
//! `buslane-testkit` test brokers and pools alone. This package is unpublished: it depends on
//! `buslane`, which depends on it for its tests.
//!
//! ```
//! use buslane_bus_suite::{BusFixture, Capabilities};
//! use buslane_core::{BoxFuture, Broker, Topic};
//! use buslane_testkit::broker_suite::MemberSpec;
//! use std::sync::Arc;
//!
//! struct Backend;
//!
//! impl BusFixture for Backend {
//!     fn capabilities(&self) -> Capabilities {
//!         let unmet = &[("m2_a_cut_connection_loses_nothing", "the connection is in process")];
//!         Capabilities { unmet, ..Capabilities::default() }
//!     }
//!
//!     fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>> {
//!         unimplemented!("connect a member of the group {}", spec.group)
//!     }
//!
//!     fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64> {
//!         unimplemented!("count the messages of {topic} that {group} has not settled")
//!     }
//! }
//!
//! buslane_bus_suite::bus_suite!(Backend);
//! # fn main() {}
//! ```

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
