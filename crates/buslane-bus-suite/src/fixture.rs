//! The contract between the suite and a backend: the fixture, its capabilities, and the faults that
//! a scenario asks for.

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
    /// The name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyed => "keyed",
            Self::Actor => "actor",
        }
    }
}

/// The capabilities of a backend, and the limit of its tests' steps.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Records that a partition holds before publishers wait; `None` when they never wait.
    /// Default: none.
    pub capacity: Option<usize>,
    /// The longest time that a step of a scenario may take. Default: [`LIMIT`].
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
    /// Revoke every partition of a group, and assign them anew.
    Rebalance(String),
}

/// The broker below a bus under test. Each scenario gets a new fixture.
pub trait BusFixture: Send + Sync + 'static {
    /// The capabilities of the backend.
    fn capabilities(&self) -> Capabilities;

    /// The base of every bus's configuration. The scenario sets group, pool sizes and retries.
    fn config(&self) -> Config {
        Config::default()
    }

    /// Connects to the broker that all connections of a fixture share. A new group starts at the
    /// oldest message.
    fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>>;

    /// The name of a topic or a group. Fixtures that share a server return different names.
    fn name(&self, what: &str) -> String {
        what.to_owned()
    }

    /// Causes a fault. Returns `false` when the backend cannot.
    fn fault(&self, fault: Fault) -> BoxFuture<'_, bool> {
        let _ = fault;
        Box::pin(async { false })
    }

    /// The number of messages of a topic that a group has not settled. A backend that stores only a
    /// position counts all messages from that position on.
    fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64>;
}
