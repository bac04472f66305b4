//! The environment of a scenario: the fixture and the pool under test, shorthands that create buses
//! and inspect their work, and the runner, which checks that no task or thread is left behind.
//! SPEC: T3

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use buslane::config::{ActorPoolConfig, KeyedPoolConfig};
use buslane::{BusError, Config, EventBus, ShutdownReport, Topic};
use buslane_core::{Broker, Message, SubscribeOptions};
use buslane_testkit::broker_suite::{Feed, MemberSpec, settle};
use buslane_testkit::deadline::{DRAIN, LIMIT, turn, until, within};
use buslane_testkit::leak;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tracing::{Dispatch, dispatcher};

use super::faulty_broker::FaultyBroker;
use super::fixture::{BusFixture, Capabilities, Fault, PoolKind};
use super::log_capture::LogCapture;
use super::metrics_page::MetricsPage;

/// The environment of a scenario.
pub struct BusHarness {
    /// The broker under test.
    pub fixture: Arc<dyn BusFixture>,
    /// The capabilities of the fixture.
    pub can: Capabilities,
    /// The pool under test.
    pub pool: PoolKind,
    /// The log of the scenario.
    pub logs: LogCapture,
    /// The metrics of the scenario's buses.
    pub(super) page: MetricsPage,
}

/// Changes the settings of both pools, for every backend.
pub fn each_pool(config: &mut Config, change: impl Fn(&mut KeyedPoolConfig, &mut ActorPoolConfig)) {
    change(&mut config.memory.keyed_pool, &mut config.memory.actor_pool);
    change(&mut config.kafka.keyed_pool, &mut config.kafka.actor_pool);
    change(&mut config.nats.keyed_pool, &mut config.nats.actor_pool);
}

impl BusHarness {
    pub(super) fn new(
        fixture: Arc<dyn BusFixture>,
        can: Capabilities,
        pool: PoolKind,
        logs: LogCapture,
        page: MetricsPage,
    ) -> Self {
        Self { fixture, can, pool, logs, page }
    }

    /// A topic of this scenario.
    ///
    /// # Panics
    /// When the fixture gives no valid name.
    #[must_use]
    pub fn topic(&self, what: &str) -> Topic {
        Topic::new(&self.fixture.name(what)).expect("a fixture names its topics well")
    }

    /// The configuration of a bus of `group`: a small pool, three attempts, short waits, and no
    /// dead-letter topic.
    #[must_use]
    pub fn config(&self, group: &str) -> Config {
        let mut config = self.fixture.config();
        config.group = self.fixture.name(group);
        config.publish_timeout = LIMIT;
        config.retry.attempts = 3;
        config.retry.initial = Duration::from_millis(5);
        config.retry.max = Duration::from_millis(40);
        config.retry.jitter = false;
        let is_actor = self.pool == PoolKind::Actor;
        each_pool(&mut config, |keyed, actor| {
            actor.enabled = is_actor;
            actor.max_restarts = 1_000;
            keyed.worker_count = 16;
            actor.pool_size = 16;
            keyed.wait_timeout = Duration::from_millis(20);
            actor.wait_timeout = keyed.wait_timeout;
        });
        config
    }

    /// As [`BusHarness::config`], with this number of workers and of messages per worker.
    #[must_use]
    pub fn sized(&self, group: &str, workers: usize, messages_per_worker: usize) -> Config {
        let mut config = self.config(group);
        each_pool(&mut config, |keyed, actor| {
            (keyed.worker_count, keyed.queue_size) = (workers, messages_per_worker);
            (actor.pool_size, actor.inbox_size) = (workers, messages_per_worker);
        });
        config
    }

    /// The connection of a bus with this configuration.
    pub async fn broker(&self, config: &Config) -> Arc<dyn Broker> {
        self.broker_that_drains(config, DRAIN).await
    }

    /// As [`BusHarness::broker`], with another deadline for the handlers of a partition that
    /// leaves.
    pub async fn broker_that_drains(
        &self,
        config: &Config,
        drain_deadline: Duration,
    ) -> Arc<dyn Broker> {
        let spec = MemberSpec {
            group: config.group.clone(),
            drain_deadline,
            publish_timeout: config.publish_timeout,
        };
        self.fixture.broker(spec).await
    }

    /// A bus of `group`.
    pub async fn bus(&self, group: &str) -> EventBus {
        self.bus_of(self.config(group)).await
    }

    /// A bus with this configuration.
    ///
    /// # Panics
    /// When the bus does not start.
    pub async fn bus_of(&self, config: Config) -> EventBus {
        let broker = self.broker(&config).await;
        let bus = EventBus::with_broker(config, broker).await.expect("a bus starts");
        assert_eq!(bus.status().pool, self.pool.name());
        bus
    }

    /// A bus with this configuration, and the page of its metrics.
    pub(super) async fn bus_with_page(&self, config: Config) -> (EventBus, &MetricsPage) {
        (self.bus_of(config).await, &self.page)
    }

    /// As [`BusHarness::bus_with_page`], where a partition leaves without a wait for its open
    /// messages.
    pub(super) async fn impatient_bus_with_page(&self, config: Config) -> (EventBus, &MetricsPage) {
        let broker = self.broker_that_drains(&config, Duration::from_millis(20)).await;
        (EventBus::with_broker(config, broker).await.expect("a bus starts"), &self.page)
    }

    /// A bus with this configuration, on a [`FaultyBroker`].
    ///
    /// # Panics
    /// When the bus does not start.
    pub async fn faulty_bus(&self, config: Config) -> (EventBus, Arc<FaultyBroker>) {
        let faulty = Arc::new(FaultyBroker::new(self.broker(&config).await));
        let bus = EventBus::with_broker(config, Arc::clone(&faulty) as Arc<dyn Broker>).await;
        (bus.expect("a bus starts"), faulty)
    }

    /// Shuts a bus down cleanly.
    ///
    /// # Panics
    /// When the broker did not close cleanly, or a handler did not return.
    pub async fn end(&self, bus: &EventBus) -> ShutdownReport {
        let report = self
            .within("the shutdown", bus.shutdown(self.can.patience))
            .await
            .expect("a shutdown reports");
        assert_eq!((report.stragglers, report.broker_error.as_deref()), (0, None), "{report:?}");
        report
    }

    /// Starts the shutdown of a bus, and waits until its status is closed.
    ///
    /// # Panics
    /// When the shutdown does not report.
    pub async fn begin_to_end(&self, bus: &EventBus) -> JoinHandle<ShutdownReport> {
        let (closing, patience) = (bus.clone(), self.can.patience);
        let closing =
            tokio::spawn(
                async move { closing.shutdown(patience).await.expect("a shutdown reports") },
            );
        until("the bus is closed", || bus.status().closed).await;
        closing
    }

    /// As [`BusHarness::end`], and no message may be abandoned.
    ///
    /// # Panics
    /// When a message was abandoned; otherwise as [`BusHarness::end`].
    pub async fn end_clean(&self, bus: &EventBus) {
        let report = self.end(bus).await;
        assert_eq!(report.abandoned, 0, "{report:?}");
    }

    /// Waits for `future` for at most the limit of a step.
    ///
    /// # Panics
    /// When `future` takes longer.
    pub async fn within<Fut: Future>(&self, what: &str, future: Fut) -> Fut::Output {
        within(self.can.patience, what, future).await
    }

    /// Waits until the group has settled every message of the topics.
    ///
    /// # Panics
    /// When the messages take longer than the limit of a step.
    pub async fn settled(&self, group: &str, topics: &[&Topic]) {
        let start = Instant::now();
        let group = self.fixture.name(group);
        for topic in topics {
            loop {
                let left = self.fixture.unsettled(&group, topic).await;
                if left == 0 {
                    break;
                }
                assert!(
                    start.elapsed() < self.can.patience,
                    "{left} messages of {topic} are not settled"
                );
                turn().await;
            }
        }
    }

    /// Messages of a topic that the group has not settled.
    pub async fn unsettled(&self, group: &str, topic: &Topic) -> u64 {
        self.fixture.unsettled(&self.fixture.name(group), topic).await
    }

    /// Causes a fault.
    ///
    /// # Panics
    /// When the backend cannot cause the fault. Such a scenario belongs in the backend's list of
    /// unmet ones.
    pub async fn fault(&self, fault: Fault) {
        let what = format!("{fault:?}");
        assert!(self.fixture.fault(fault).await, "the fixture cannot: {what}");
    }

    /// Causes a fault if the backend can.
    pub async fn fault_where_possible(&self, fault: Fault) {
        self.fixture.fault(fault).await;
    }

    /// Reads the first `count` messages of a topic without a bus, in the group `audit`.
    pub async fn audit(&self, topic: &Topic, count: usize) -> Vec<Message> {
        let mut feed = self.auditor(topic).await;
        let deliveries = feed.take(count).await;
        let messages = deliveries.iter().map(|delivery| delivery.message.clone()).collect();
        settle(deliveries);
        feed.close().await;
        messages
    }

    /// A reader of a topic without a bus, in the group `audit`.
    ///
    /// # Panics
    /// When the reader cannot subscribe.
    pub async fn auditor(&self, topic: &Topic) -> Feed {
        let broker = self.broker(&self.config("audit")).await;
        broker
            .subscribe(&[(topic.clone(), SubscribeOptions::default())])
            .await
            .expect("an auditor subscribes");
        Feed::new(broker, self.can.patience)
    }
}

/// Waits until a bus has no open message.
pub(super) async fn idle(bus: &EventBus) {
    until("nothing is open", || bus.pool_stats().open == 0).await;
}

/// The text of an expected error.
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, BusError>) -> String {
    result.expect_err("this is refused").to_string()
}

/// Runs one scenario on a separate runtime. Called by the macro.
///
/// # Panics
/// When the scenario fails or does not end, or leaves a task or a thread.
pub fn run<Fut: Future<Output = ()>>(
    name: &str,
    pool: PoolKind,
    fixture: impl FnOnce() -> Arc<dyn BusFixture>,
    scenario: impl FnOnce(BusHarness) -> Fut,
) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let tag = format!("bus-run-{}", RUNS.fetch_add(1, Relaxed));
    let logs = LogCapture::default();
    let log = Dispatch::new(logs.clone());
    let _logged_here = dispatcher::set_default(&log);
    let (page, recorder) = MetricsPage::new(pool);
    let _recorded_here = metrics::set_default_local_recorder(recorder);
    let told = TellOnPanic(logs.clone());
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(&tag)
        .on_thread_start(move || {
            std::mem::forget(dispatcher::set_default(&log));
            std::mem::forget(metrics::set_default_local_recorder(recorder));
        })
        .enable_all()
        .build()
        .expect("a runtime for the test");
    runtime.block_on(async {
        let fixture = fixture();
        let can = fixture.capabilities();
        if let Some((_, reason)) = can.unmet.iter().find(|(unmet, _)| *unmet == name) {
            eprintln!("unmet: {name}: {reason}");
            return;
        }
        // Ends a scenario that hangs. The longest scenario does a hundred runs, concurrently with
        // others on few cores that other programs may keep busy. Each of its steps has a separate
        // limit.
        let limit = can.patience * 10;
        let ended =
            tokio::time::timeout(limit, scenario(BusHarness::new(fixture, can, pool, logs, page)))
                .await;
        assert!(ended.is_ok(), "{name} did not end within {limit:?}");
        leak::no_more_tasks_than(0).await;
    });
    drop(runtime);
    no_thread_left(&tag);
    drop(told);
}

/// Waits until no thread has the name `tag`. An unnamed thread inherits the name of its parent, so
/// the check finds unnamed threads too.
fn no_thread_left(tag: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = threads(tag);
        if left == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{left} threads were left behind");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The number of threads with this name; 0 where the system has no `/proc`.
fn threads(name: &str) -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let has_name = |path: std::path::PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|comm| comm.trim_end() == name)
    };
    tasks.flatten().filter(|task| has_name(task.path().join("comm"))).count()
}

/// Prints the end of the log when a scenario fails.
struct TellOnPanic(LogCapture);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.0.lines();
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("  {line}");
            }
        }
    }
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
