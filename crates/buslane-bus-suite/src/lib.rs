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
//!         let unmet = &[("m2_a_cut_connection_loses_nothing", "a test cannot cut the connection")];
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
pub mod classes;
pub mod configuration;
mod crowd;
pub mod dead_letters;
pub mod delivery;
pub mod drained;
pub mod draining;
pub mod envelopes;
pub mod faults;
pub mod groups;
pub mod health;
pub mod held;
mod journal;
pub mod keys;
mod kit;
pub mod lanes;
pub mod letter_topics;
pub mod lifecycle;
pub mod limits;
pub mod load;
pub mod lock_free;
pub mod logs;
mod meddler;
pub mod metrics;
pub mod order;
mod page;
pub mod panics;
pub mod pauses;
pub mod pressure;
pub mod probes;
pub mod publishing;
pub mod rates;
pub mod recovery;
pub mod redelivery;
pub mod redriven;
pub mod reduced;
pub mod retries;
pub mod rollout;
pub mod routing;
mod run;
mod scenarios;
mod seen;
pub mod shadow;
mod spans;
pub mod subscriptions;
pub mod suspects;
pub mod terminal;
pub mod traces;
pub mod turmoil;

pub use journal::{Journal, Line};
pub use kit::{Ground, each_pool};
pub use meddler::Meddler;
pub use run::{check_unmet, run};
pub use seen::{
    Note, Seen, envelope, events_of, fails, notes_events, notes_messages, notes_then_waits, now,
    publish, publish_numbers, waits_then_notes,
};
pub use spans::SpanSeen;

use buslane::Config;
use buslane_core::{BoxFuture, Broker, Topic};
use buslane_testkit::{broker_suite::MemberSpec, deadline::LIMIT};
use std::{sync::Arc, time::Duration};

/// Which pool a scenario runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The keyed-worker pool.
    Keyed,
    /// The supervised actor pool.
    Actor,
}

impl PoolKind {
    /// As metrics and logs call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyed => "keyed",
            Self::Actor => "actor",
        }
    }
}

/// What a backend can do, and how patient its tests are.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Records that a partition holds before publishers wait; `None` where nothing makes them wait.
    /// Default: none.
    pub capacity: Option<usize>,
    /// How long a step of a scenario may take. Default: [`LIMIT`].
    pub patience: Duration,
    /// Scenarios that the backend cannot meet, each with the reason. Default: none.
    pub unmet: &'static [(&'static str, &'static str)],
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { capacity: None, patience: LIMIT, unmet: &[] }
    }
}

/// A fault that a scenario asks for.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Cut every connection.
    Disconnect,
    /// Restore the connections.
    Reconnect,
    /// Lose the settlement of the n-th delivery of a topic, counted from now; 1 is the next.
    LoseAck(Topic, u64),
    /// Deliver the n-th delivery of a topic twice.
    Duplicate(Topic, u64),
    /// Revoke every partition of a group, and share them out anew.
    Rebalance(String),
}

/// A broker under a bus under test. Each scenario gets a fixture of its own.
pub trait BusFixture: Send + Sync + 'static {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What the configuration of each bus begins with. Group, pool sizes and retries are the
    /// scenario's.
    fn config(&self) -> Config {
        Config::default()
    }

    /// A connection to the broker; those of one fixture share one broker. A group that is new
    /// starts at the oldest message.
    fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>>;

    /// The name to use for a topic or a group: of this fixture alone, where fixtures share a
    /// server.
    fn name(&self, what: &str) -> String {
        what.to_owned()
    }

    /// Makes a fault happen; `false` where that is not possible.
    fn fault(&self, fault: Fault) -> BoxFuture<'_, bool> {
        let _ = fault;
        Box::pin(async { false })
    }

    /// Messages of a topic that a group has not settled. Where only a position is kept, all from
    /// there on.
    fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64>;
}
