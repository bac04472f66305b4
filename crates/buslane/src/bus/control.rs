//! What an application observes and changes while a bus runs: status, callbacks, topics, rate
//! limits, recovery mode, the configuration.

use super::{EventBus, ReloadReport, reload, subscription};
use crate::{
    BusError, Config, ConfigError, Health, Rollout,
    backlog::{BusEvent, PartitionBacklog, PublishBacklog, RecoveryStatus},
    config::{RateLimit, check_rate},
    flow::Flow,
    state::{BlockedKey, StalledPartition},
    trace::Tracer,
};
use buslane_core::{
    Backend, IntoVerdict, Lag, LaneState, PoolStats, Topic, TopicSettings, TopicStrategy,
};
use std::{future::Future, sync::Arc};

/// The state of a bus at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Which pool runs the lanes: `keyed` or `actor`; `split` while both do, see
    /// [`EventBus::rollout`].
    pub pool: &'static str,
    /// Topics that the bus reads without a handler: their messages are held.
    pub held_topics: Vec<Topic>,
    /// Partitions that wait for room: behind a full lane, a full pool, or the limit of blocked
    /// messages. A partition that stays here has a key that fails, or one that is too busy.
    pub stalled_partitions: Vec<StalledPartition>,
    /// Keys that are out of attempts and wait, longest blocked first: at most 1,000.
    pub blocked: Vec<BlockedKey>,
    /// The number of all blocked keys.
    pub blocked_keys: usize,
    /// Partitions that are behind, as of the last check.
    pub backlog: Vec<PartitionBacklog>,
    /// Publishes that the broker has not answered, as of the last check.
    pub publish_backlog: PublishBacklog,
    /// Whether the bus is shut down, or shutting down.
    pub closed: bool,
}

/// The topics of one bus.
#[derive(Clone, Copy)]
pub struct Topics<'a>(&'a EventBus);

/// The rate limits of one bus. They hold until the next change or the end of the bus.
///
/// They are not written to the configuration: [`EventBus::reload`] applies the limits of a file.
#[derive(Clone, Copy)]
pub struct Limits<'a>(&'a EventBus);

/// The recovery mode of one bus: how it works through a backlog.
#[derive(Clone, Copy)]
pub struct Recovery<'a>(&'a EventBus);

impl EventBus {
    /// The configuration that the bus was made with; later changes are not in it.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The kind of broker that the bus is connected to.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.0.broker.backend()
    }

    /// The state of the bus: its pool, held topics, blocked keys, backlog.
    ///
    /// ```
    /// # use buslane::{Config, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let status = bus.status();
    /// assert_eq!((status.pool, status.blocked_keys, status.closed), ("keyed", 0, false));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> Status {
        let joined = self.0.joined.lock().clone();
        let flow = &self.0.flow;
        let blocked = &flow.state.blocked;
        Status {
            pool: flow.pool.name(),
            held_topics: joined
                .into_iter()
                .filter(|topic| flow.registry.get(topic).is_none())
                .collect(),
            stalled_partitions: flow.state.stalls.all(),
            blocked: blocked.all(),
            blocked_keys: blocked.count(),
            backlog: flow.backlog.backlog(),
            publish_backlog: flow.backlog.publish_backlog(),
            closed: self.0.closing.has_begun(),
        }
    }

    /// The counters and the fill level of the pool. Cheap enough to poll.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.0.flow.pool.stats()
    }

    /// The health of the bus now: its faults by name, and whether it is live and ready. Facts that
    /// only the broker knows are at most
    /// [`check_interval`](crate::config::HealthConfig::check_interval) old.
    ///
    /// ```
    /// # use buslane::{Config, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let health = bus.health();
    /// assert!(health.live);
    /// for component in health.components {
    ///     println!("{:?}: {:?}, {:?}", component.name, component.condition, component.faults);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health.check()
    }

    /// The lane of a key: a key that has messages of `topic`, or had some recently. `None` for a
    /// key that was never seen or is forgotten. Where a lane holds a key's messages of all topics,
    /// each of its topics gives the same answer.
    ///
    /// # Errors
    /// A topic name that breaks a rule.
    pub fn key_state(
        &self,
        topic: &str,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<LaneState>, BusError> {
        let topic = Topic::new(topic)?;
        let flow = &self.0.flow;
        Ok(flow.pool.lane(flow.routing.lane_scope.lane(&topic, key.as_ref())))
    }

    /// Calls `callback` each time the connection to the broker is restored: after the callbacks
    /// that were added before it, beside the work of the bus. It returns what a handler may return.
    /// A failure or a panic is logged and counted in `reconnect_callback_failures_total`.
    ///
    /// Reconnects while callbacks run call all of them once more afterwards. A shutdown cancels a
    /// callback at its next `.await`.
    ///
    /// ```
    /// # use buslane::{Config, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// # async fn read_prices() -> std::io::Result<()> { Ok(()) }
    /// bus.on_reconnect(async || read_prices().await);
    /// # bus.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_reconnect<F, Fut>(&self, callback: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoVerdict> + Send + 'static,
    {
        self.0.on_reconnect.add(callback);
    }

    /// Calls `callback` with each later [`BusEvent`], in order, from a task of the bus. It must not
    /// block. A bus may start in recovery mode: [`EventBus::status`] and [`EventBus::recovery`]
    /// show the state at the call.
    ///
    /// ```
    /// # use buslane::{Config, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// bus.on_event(|event| println!("{event:?}"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_event(&self, callback: impl Fn(&BusEvent) + Send + Sync + 'static) {
        self.0.on_event.lock().push(Arc::new(callback));
    }

    /// Installs a tracer: it links the spans of deliveries to their producers, and supplies the
    /// trace context of publishes. Returns `false`, keeping the existing one, if one is installed.
    /// Call it before the first subscription: it does not see deliveries that have begun.
    pub fn set_tracer(&self, tracer: impl Tracer) -> bool {
        self.0.flow.services.tracer.set(Box::new(tracer)).is_ok()
    }

    /// The topics of this bus: announce them, look whether one has a handler, ask for the lag.
    ///
    /// ```
    /// # use buslane::{Config, Event, EventBus, Topic};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// bus.topics().announce(["orders", "payments"]).await?;
    /// bus.subscribe_envelopes("orders", async |_: Event| ()).await?;
    /// assert!(bus.topics().is_subscribed("orders"));
    /// assert_eq!(bus.status().held_topics, [Topic::new("payments")?]);
    /// for lag in bus.topics().lag().await? {
    ///     println!("{}/{}: {} messages", lag.topic, lag.partition, lag.messages);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn topics(&self) -> Topics<'_> {
        Topics(self)
    }

    /// Applies settings to a topic; returns those that are in force afterwards.
    ///
    /// ```
    /// # use buslane::{Config, EventBus, TopicSettings, TopicStrategy};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let wanted = TopicSettings { partitions: Some(8), ..TopicSettings::default() };
    /// bus.configure_topic("orders", &wanted, TopicStrategy::CreateOnly).await?;
    /// let found = bus.topic_config("orders").await?.expect("it was created");
    /// assert_eq!(found.partitions, Some(8));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A name that breaks a rule, a closed bus, or the setting that the broker refused and its
    /// reason.
    pub async fn configure_topic(
        &self,
        topic: &str,
        settings: &TopicSettings,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BusError> {
        let inner = self.open()?;
        let topic = Topic::new(topic)?;
        Ok(inner.broker.configure_topic(&topic, settings, strategy).await?)
    }

    /// The settings of a topic, or `None` when the topic does not exist.
    ///
    /// # Errors
    /// A name that breaks a rule, a closed bus, or the broker's reason.
    pub async fn topic_config(&self, topic: &str) -> Result<Option<TopicSettings>, BusError> {
        let inner = self.open()?;
        let topic = Topic::new(topic)?;
        Ok(inner.broker.topic_settings(&topic).await?)
    }

    /// The rate limits of this bus.
    ///
    /// ```
    /// # use buslane::{Config, EventBus, RateLimit};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// bus.limits().set_publish(Some(RateLimit::new(5_000, 100)))?;
    /// bus.limits().set_subscribe_of("orders", Some(RateLimit::new(500, 50)))?;
    /// bus.limits().set_publish(None)?; // lifted
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn limits(&self) -> Limits<'_> {
        Limits(self)
    }

    /// The recovery mode of this bus.
    ///
    /// ```
    /// # use buslane::{Config, EventBus, RateLimit};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// bus.recovery().set_limits(RateLimit::new(1_000, 100), 64)?;
    /// bus.set_recovery_mode(true);
    /// assert_eq!(bus.recovery().status().keys, Some(64));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn recovery(&self) -> Recovery<'_> {
        Recovery(self)
    }

    /// Enters recovery mode, or leaves it at once. In recovery mode every message with a key is
    /// handled in the order of its key, also in unordered subscriptions, and a limited number of
    /// keys is handled at a time. Messages that are in the lanes already stay there.
    ///
    /// Recovery mode ends by itself when nothing is behind: see [`RecoveryConfig`]. To slow a bus
    /// down for longer, limit its rate: [`Limits::set_subscribe`].
    ///
    /// [`RecoveryConfig`]: crate::config::RecoveryConfig
    pub fn set_recovery_mode(&self, active: bool) {
        self.0.flow.backlog.set_recovery_mode(active);
    }

    /// The rollout of this bus: which share of the keys the actor pool runs.
    ///
    /// ```
    /// # use buslane::{Config, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// # #[cfg(feature = "actor")] {
    /// let rollout = bus.rollout();
    /// rollout.set_percent(10, "alice")?;
    /// rollout.settled().await;
    /// assert_eq!(rollout.status().percent, 10);
    /// rollout.roll_back("alice");
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        Rollout::new(Arc::clone(&self.0.flow.rollout))
    }

    /// Applies another configuration to the running bus, as far as that is possible without a
    /// restart:
    ///
    /// - the share of the keys on the actor pool and the plan of the rollout, where the *file* of
    ///   the configuration has changed them. A value set at run time wins over the environment, and
    ///   that over the file: then the new value is refused, and the report names the source that
    ///   wins. A roll-back by the guard counts as run time;
    /// - the limits of `limits`, where they have changed. They replace those set at run time.
    ///
    /// The report names every other changed key: it takes effect at the next start. A refused value
    /// is refused at each reload until the file agrees with the value in force.
    /// [`EventBus::config`] stays the same.
    ///
    /// ```
    /// # use buslane::{Config, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let changed = Config::parse_yaml("group: billing\nlimits: {publish: {per_second: 500}}")?;
    /// let report = bus.reload(&changed)?;
    /// assert_eq!(report.applied, ["limits.publish"]);
    /// assert_eq!(report.needs_restart, ["group"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A rule that the configuration breaks, or a closed bus: then nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<ReloadReport, BusError> {
        reload::reload(self, config)
    }

    /// Reads the file that `BUSLANE_CONFIG` names again at each SIGHUP of this process, and applies
    /// it as [`EventBus::reload`] does. Each time writes one log line: `configuration reloaded`, or
    /// `configuration reload refused` with the refused keys and the reasons, also when the file
    /// cannot be read; then nothing has changed. It ends with the bus.
    ///
    /// Returns `false` when that variable names no file: then it does nothing, and a SIGHUP keeps
    /// ending the process. Call it once.
    ///
    /// # Errors
    /// The signal handler cannot be installed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[cfg(unix)]
    pub fn reload_on_sighup(&self) -> std::io::Result<bool> {
        reload::on_sighup(self)
    }

    pub(crate) fn flow(&self) -> &Flow {
        &self.0.flow
    }

    /// Spawns a task that a shutdown waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }
}

impl Topics<'_> {
    /// Reads topics before they have handlers, in one change of the group's membership. The bus
    /// holds the messages of a topic until it has a handler. Topics that are already read are left
    /// alone.
    ///
    /// # Errors
    /// A name that breaks a rule, a closed bus, or the broker's reason.
    pub async fn announce<T: AsRef<str>>(
        self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), BusError> {
        self.0.open()?;
        let topics = topics.into_iter().map(|name| Topic::new(name.as_ref()));
        subscription::announce(self.0, topics.collect::<Result<_, _>>()?).await
    }

    /// Whether a topic has a handler. Takes no lock.
    #[must_use]
    pub fn is_subscribed(self, topic: &str) -> bool {
        let inner = &self.0.0;
        Topic::new(topic).is_ok_and(|topic| inner.flow.registry.get(&topic).is_some())
    }

    /// The lag of each partition that this bus reads now; asks the broker.
    ///
    /// # Errors
    /// A closed bus, or the broker's reason.
    pub async fn lag(self) -> Result<Vec<Lag>, BusError> {
        Ok(self.0.open()?.broker.lag().await?)
    }
}

impl Limits<'_> {
    /// Limits how much the bus publishes; `None` lifts the limit. Publishers wait in the order of
    /// their calls, up to the [publish timeout](crate::Config::publish_timeout). A call that would
    /// wait longer gets [`PublishError::Timeout`](crate::PublishError::Timeout), and sends nothing.
    /// The time until the broker's acknowledgement comes on top. Dead letters are not limited.
    ///
    /// # Errors
    /// [`BusError::Config`] for a limit that breaks a rule; then nothing has changed.
    pub fn set_publish(self, limit: Option<RateLimit>) -> Result<(), BusError> {
        check_rate("publish limit", limit)?;
        self.0.0.publish_limits.set(None, limit);
        Ok(())
    }

    /// As [`Limits::set_publish`], for one topic. Both limits hold.
    ///
    /// # Errors
    /// A topic name that breaks a rule; else as [`Limits::set_publish`].
    pub fn set_publish_of(self, topic: &str, limit: Option<RateLimit>) -> Result<(), BusError> {
        let topic = Topic::new(topic)?;
        check_rate("publish limit", limit)?;
        self.0.0.publish_limits.set(Some(&topic), limit);
        Ok(())
    }

    /// Limits how much the bus handles; `None` lifts the limit. At the limit the bus stops reading,
    /// so the messages stay at the broker. Topics and partitions share the rate in fair order.
    ///
    /// # Errors
    /// As [`Limits::set_publish`].
    pub fn set_subscribe(self, limit: Option<RateLimit>) -> Result<(), BusError> {
        check_rate("subscribe limit", limit)?;
        self.0.0.flow.rates.bus.set(limit);
        Ok(())
    }

    /// As [`Limits::set_subscribe`], for one topic, before or after its subscription begins. It
    /// replaces [`SubscriptionBuilder::rate`](crate::SubscriptionBuilder::rate) until that
    /// subscription ends. The limit of the bus holds as well.
    ///
    /// # Errors
    /// As [`Limits::set_publish_of`].
    pub fn set_subscribe_of(self, topic: &str, limit: Option<RateLimit>) -> Result<(), BusError> {
        let topic = Topic::new(topic)?;
        check_rate("subscribe limit", limit)?;
        self.0.0.flow.rates.of(&topic).set(limit);
        if let Some(subscribed) = self.0.0.flow.registry.get(&topic) {
            subscribed.rate.set(limit);
        }
        Ok(())
    }
}

impl Recovery<'_> {
    /// Whether recovery mode is on, also while it ends and raises its limits step by step.
    #[must_use]
    pub fn is_active(self) -> bool {
        self.0.0.flow.backlog.is_recovering()
    }

    /// The phase, the cause and the limits.
    #[must_use]
    pub fn status(self) -> RecoveryStatus {
        self.0.0.flow.backlog.recovery()
    }

    /// Sets the limits of recovery mode, at once if it is on. Without a `rate`, which is the
    /// default, only the speed of the handlers and the number of `keys` handled at a time limit it.
    ///
    /// # Errors
    /// A rate that breaks a rule, or 0 `keys`; then nothing has changed.
    pub fn set_limits(
        self,
        rate: impl Into<Option<RateLimit>>,
        keys: usize,
    ) -> Result<(), BusError> {
        let rate = rate.into();
        check_rate("recovery limit", rate)?;
        if keys == 0 {
            let (key, rule) = ("recovery limit.keys".to_owned(), "must be at least 1".to_owned());
            return Err(ConfigError::Rule { key, rule, found: keys.to_string() }.into());
        }
        self.0.0.flow.backlog.set_recovery_limits(rate, keys);
        Ok(())
    }
}
