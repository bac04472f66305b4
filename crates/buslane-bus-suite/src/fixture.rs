//! The contract between the suite and a backend: the fixture, its capabilities, and the faults that a
//! scenario asks for.

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
