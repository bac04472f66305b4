//! The contract of brokers as tests: each scenario becomes a separate test, named for the
//! requirement that it proves.
//!
//! A backend implements [`BrokerFixture`] and calls [`broker_suite!`](crate::broker_suite!). Each
//! test runs on a separate runtime with two workers, and fails when its scenario leaves a task
//! behind.
//!
//! [`Capabilities::unmet`] lists the scenarios that a backend cannot meet, each with the reason.
//! Pin that list in a test of the backend, so that the list does not grow unnoticed.

pub mod basics;
mod feed;
pub mod lifecycle;
pub mod logs;
pub mod members;
mod scenarios;
pub mod topics;

pub use feed::{Feed, bodies, publish, record, settle};

use crate::deadline::{DRAIN, LIMIT, turn};
use buslane_core::{Broker, SubscribeOptions, Topic};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The capabilities of a backend, and the limit of its tests' steps.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Partitions of a topic that its first use creates; `None` when topics have no partitions.
    /// Default: 8.
    pub partitions: Option<u32>,
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
        Self { partitions: Some(8), capacity: None, patience: LIMIT, unmet: &[] }
    }
}

/// The member that a scenario asks for.
#[derive(Debug, Clone)]
pub struct MemberSpec {
    /// The name of the member's group. A new group starts at the oldest message.
    pub group: String,
    /// The time that a revoked partition waits for its open deliveries.
    pub drain_deadline: Duration,
    /// The longest time that a publish waits for capacity.
    pub publish_timeout: Duration,
}

/// A broker under test. Each scenario gets a new fixture.
pub trait BrokerFixture: Send + Sync + 'static {
    /// The capabilities of the backend.
    fn capabilities(&self) -> Capabilities;

    /// Creates a member. The members of a fixture share one broker.
    fn member(&self, spec: MemberSpec) -> impl Future<Output = Arc<dyn Broker>> + Send;

    /// The name of a topic or a group. Fixtures that share a server return different names.
    fn name(&self, what: &str) -> String {
        what.to_owned()
    }
}

/// The environment of a scenario: the fixture and shorthands for its methods.
#[derive(Debug)]
pub struct BrokerHarness<F> {
    /// The broker under test.
    pub fixture: F,
    /// The capabilities of the fixture.
    pub can: Capabilities,
}

impl<F: BrokerFixture> BrokerHarness<F> {
    /// A topic of this scenario.
    ///
    /// # Panics
    /// When the fixture gives no valid name.
    pub fn topic(&self, what: &str) -> Topic {
        Topic::new(&self.fixture.name(what)).expect("a fixture names its topics well")
    }

    /// The default specification of a member of `group`.
    pub fn spec(&self, group: &str) -> MemberSpec {
        MemberSpec {
            group: self.fixture.name(group),
            drain_deadline: DRAIN,
            publish_timeout: LIMIT,
        }
    }

    /// A member of `group`.
    pub async fn member(&self, group: &str) -> Arc<dyn Broker> {
        self.fixture.member(self.spec(group)).await
    }

    /// A member of `group` that is subscribed to `topic`, with its reader.
    ///
    /// # Panics
    /// When the member cannot subscribe.
    pub async fn reader(&self, group: &str, topic: &Topic) -> Feed {
        let feed = self.feed(self.member(group).await);
        feed.subscribe(topic).await;
        feed
    }

    /// A reader for a member.
    pub fn feed(&self, broker: Arc<dyn Broker>) -> Feed {
        Feed::new(broker, self.can.patience)
    }

    /// The number of partitions of a new topic.
    pub fn sources(&self) -> usize {
        self.can.partitions.map_or(1, |count| count as usize)
    }
}

impl Feed {
    /// Subscribes the member to `topic`.
    ///
    /// # Panics
    /// When the broker refuses.
    // Not an `async fn`: an intake is not `Sync`, so a future that borrows the feed would not be
    // `Send`.
    pub fn subscribe(&self, topic: &Topic) -> impl Future<Output = ()> + Send + use<> {
        let (broker, topics) =
            (Arc::clone(&self.broker), [(topic.clone(), SubscribeOptions::default())]);
        async move { broker.subscribe(&topics).await.expect("a member subscribes") }
    }
}

/// Runs one scenario, then checks that the scenario left no task behind. Called by the macro.
///
/// # Panics
/// When the scenario fails, or leaves a task.
pub fn run<F, Fut>(
    name: &str,
    fixture: impl FnOnce() -> F,
    scenario: impl FnOnce(BrokerHarness<F>) -> Fut,
) where
    F: BrokerFixture,
    Fut: Future<Output = ()>,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime for the test");
    runtime.block_on(async {
        let fixture = fixture();
        let can = fixture.capabilities();
        if let Some((_, reason)) = can.unmet.iter().find(|(unmet, _)| *unmet == name) {
            eprintln!("unmet: {name}: {reason}");
            return;
        }
        // Ends a scenario that hangs. Each of its steps has a separate limit.
        let limit = can.patience * 3;
        let ended = tokio::time::timeout(limit, scenario(BrokerHarness { fixture, can })).await;
        assert!(ended.is_ok(), "{name} did not end within {limit:?}");
        let deadline = Instant::now() + LIMIT;
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        while alive() > 0 {
            assert!(Instant::now() < deadline, "{name} left {} tasks behind", alive());
            turn().await;
        }
    });
}

/// Checks that every name in a list of unmet scenarios exists. Called by the macro.
///
/// # Panics
/// When `scenarios` lacks one of the names.
pub fn check_unmet(unmet: &[(&str, &str)], scenarios: &[&str]) {
    for (name, _) in unmet {
        assert!(
            scenarios.contains(name),
            "{name} is listed as unmet, but there is no such scenario"
        );
    }
}
