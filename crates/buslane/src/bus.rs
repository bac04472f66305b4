//! The bus: the handle that an application holds, from connecting to the shutdown.
//!
//! The methods here connect, publish, subscribe, drain and shut down; `control` has those that
//! observe and steer a running bus. Both delegate to the functions of the files below.

mod builder;
mod connect;
mod control;
mod drained;
mod parking;
mod publish;
mod publish_targets;
mod reconnect;
mod reload;
mod shutdown;
mod subscription;

pub use builder::SubscriptionBuilder;
pub use connect::BusBuilder;
pub use control::{Limits, Recovery, Status, Topics};
pub use drained::{Drained, Undrained};
pub use parking::{ParkedKey, Parking};
pub use reload::{ReloadRefusal, ReloadReport};
pub use shutdown::ShutdownReport;
pub use subscription::{ShadowedSubscription, Subscription};

use crate::{
    BusError, Classifier, Config, backlog::EventCallback, flow::Flow, health::HealthState,
    in_flight::InFlightPublishes,
};
use buslane_core::{
    Broker, Envelope, Event, Handler, Message, PublishError, Receipt, Record, Topic,
};
use bytes::BytesMut;
use parking_lot::Mutex;
use publish::PublishLimits;
use publish_targets::{PublishTarget, PublishTargets};
use reconnect::ReconnectCallbacks;
use shutdown::Closing;
use std::{borrow::Borrow, collections::BTreeSet, fmt, sync::Arc, time::Duration};
use subscription::Scatter;
use tokio_util::{sync::DropGuard, task::TaskTracker};

/// An event bus: publishes, subscribes, and runs every aggregate in a lane of its own.
///
/// Cloning is cheap and gives the same bus.
///
/// ```
/// use buslane::{Config, Envelope, Event, EventBus};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(Config::default()).await?; // memory://
/// bus.subscribe_envelopes("orders", async |event: Event| {
///     println!("{} {}", event.aggregate_id, event.event_type);
/// })
/// .await?;
/// bus.publish_envelope("orders", Envelope::new("order-42", "OrderPlaced", &1990)?).await?;
/// assert!(bus.drained(Duration::from_secs(10)).await?.is_complete());
/// bus.shutdown(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Drop behaviour
/// Dropping the last clone without [`EventBus::shutdown`] is like a crash: handlers are cancelled
/// at their next `.await`, and unsettled messages are delivered again. A handler that holds a clone
/// keeps the bus alive until its shutdown.
#[derive(Clone)]
pub struct EventBus(Arc<Inner>);

struct Inner {
    config: Config,
    /// `config` with every change that was reloaded since.
    running: Mutex<Config>,
    flow: Arc<Flow>,
    health: Arc<HealthState>,
    broker: Arc<dyn Broker>,
    targets: PublishTargets,
    /// Of subscriptions without one of their own.
    classifier: Classifier,
    /// Topics that the broker reads for this bus.
    joined: Mutex<BTreeSet<Topic>>,
    /// Held while the topics that the broker reads change: one change at a time.
    joining: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    on_reconnect: Arc<ReconnectCallbacks>,
    on_event: Arc<Mutex<Vec<EventCallback>>>,
    in_flight: Arc<InFlightPublishes>,
    publish_limits: PublishLimits,
    closing: Closing,
    scatter: Scatter,
    /// Stops the bus's tasks when the last clone is dropped. Nothing that the bus owns may hold it.
    _alive: DropGuard,
}

impl EventBus {
    /// Connects to the broker that the configuration names, and starts the pool that it chooses.
    ///
    /// `memory://` is an embedded broker of this bus alone; [`EventBus::with_broker`] shares one.
    /// `kafka://` needs the cargo feature `kafka`, `nats://` the feature `nats`.
    ///
    /// ```
    /// use buslane::{Config, EventBus};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = Config::new("memory://")?; // or kafka://host:9092, nats://host:4222
    /// config.group = "billing".to_owned();
    /// let bus = EventBus::connect(config).await?;
    /// # bus.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A rule that the configuration breaks, a broker or pool that this build does not contain, or
    /// the broker's reason for refusing the announced topics.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: Config) -> Result<Self, BusError> {
        Self::builder(config).connect().await
    }

    /// A bus with a broker or a pool of the program's own.
    pub fn builder(config: Config) -> BusBuilder {
        BusBuilder::new(config)
    }

    /// Starts a bus on a broker that is connected already: a shared
    /// [`MemoryBroker`](crate::memory::MemoryBroker), or an implementation of
    /// [`Broker`](crate::broker::Broker) of your own.
    ///
    /// The settings of the broker's backend choose the pool.
    ///
    /// ```
    /// use buslane::{Config, EventBus, memory::{MemberOptions, MemoryBroker}};
    /// use std::sync::Arc;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = MemoryBroker::new(Default::default())?;
    /// let member = |group| Arc::new(broker.member(MemberOptions::new(group)));
    /// let orders = EventBus::with_broker(Config::default(), member("orders")).await?;
    /// let billing = EventBus::with_broker(Config::default(), member("billing")).await?;
    /// # orders.close().await?;
    /// # billing.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A rule that the configuration breaks, a pool that this build does not contain, or the
    /// broker's reason for refusing the announced topics.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn with_broker(config: Config, broker: Arc<dyn Broker>) -> Result<Self, BusError> {
        Self::builder(config).broker(broker).connect().await
    }

    /// Checks an envelope and publishes it; returns after the broker's acknowledgement.
    ///
    /// ```
    /// # use buslane::{Config, Envelope, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let order = serde_json::json!({ "total": 1990 });
    /// let placed = Envelope::new("order-42", "OrderPlaced", &order)?;
    /// let receipt = bus.publish_envelope("orders", placed).await?;
    /// println!("stored at {}/{} {}", receipt.topic, receipt.partition, receipt.offset);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The rule that the envelope breaks, and then nothing was sent; else as [`EventBus::publish`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the envelope was published.
    pub async fn publish_envelope(
        &self,
        topic: &str,
        envelope: impl Borrow<Envelope>,
    ) -> Result<Receipt, BusError> {
        let target = self.publishing(topic)?;
        let record = Record::from_envelope(envelope.borrow(), &mut BytesMut::new())?;
        let receipts = publish::send(&self.0, &target, vec![record]).await;
        receipts.into_iter().next().unwrap_or(Err(PublishError::Closed)).map_err(Into::into)
    }

    /// Checks all envelopes, then publishes them; returns one answer for each, in their order.
    ///
    /// ```
    /// # use buslane::{Config, Envelope, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = [1, 2, 3].map(|n| Envelope::new(format!("order-{n}"), "OrderPlaced", &n));
    /// let orders = orders.into_iter().collect::<Result<Vec<_>, _>>()?;
    /// for answer in bus.publish_envelopes("orders", &orders).await? {
    ///     println!("offset {}", answer?.offset);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first rule that an envelope breaks, and then nothing was sent; a topic name that breaks
    /// a rule; a closed bus. The answers hold the errors of single envelopes.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open which of the envelopes were published.
    pub async fn publish_envelopes(
        &self,
        topic: &str,
        envelopes: &[Envelope],
    ) -> Result<Vec<Result<Receipt, PublishError>>, BusError> {
        let target = self.publishing(topic)?;
        let mut arena = BytesMut::new();
        let records = envelopes
            .iter()
            .map(|envelope| Record::from_envelope(envelope, &mut arena))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(publish::send(&self.0, &target, records).await)
    }

    /// Publishes a regular message, and returns after the broker's acknowledgement.
    ///
    /// ```
    /// # use buslane::{Config, EventBus, Record};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// bus.publish("cache.invalidate", "sku-7").await?;
    /// bus.publish("prices", Record::new(r#"{"cents":990}"#).with_key("sku-7")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A topic name that breaks a rule, a closed bus, the broker's reason, or
    /// [`PublishError::Timeout`] after the [publish timeout](Config::publish_timeout).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the message was published.
    pub async fn publish(
        &self,
        topic: &str,
        record: impl Into<Record>,
    ) -> Result<Receipt, BusError> {
        let target = self.publishing(topic)?;
        let receipts = publish::send(&self.0, &target, vec![record.into()]).await;
        receipts.into_iter().next().unwrap_or(Err(PublishError::Closed)).map_err(Into::into)
    }

    /// Publishes regular messages; returns one answer for each, in their order.
    ///
    /// ```
    /// # use buslane::{Config, EventBus, Record};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let records = ["sku-7", "sku-8"].map(Record::from).to_vec();
    /// let answers = bus.publish_batch("cache.invalidate", records).await?;
    /// assert!(answers.iter().all(Result::is_ok));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A topic name that breaks a rule, or a closed bus; the answers hold the errors of single
    /// records.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open which of the records were published.
    pub async fn publish_batch(
        &self,
        topic: &str,
        records: Vec<Record>,
    ) -> Result<Vec<Result<Receipt, PublishError>>, BusError> {
        let target = self.publishing(topic)?;
        Ok(publish::send(&self.0, &target, records).await)
    }

    /// Handles the envelopes of a topic: **at least once, in order for each aggregate**.
    ///
    /// A failed envelope is retried in its lane; after the last attempt the configured
    /// [`Terminal`](crate::Terminal) policy applies. [`EventBus::subscription`] sets other options.
    ///
    /// ```
    /// # use buslane::{Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// async fn on_order(event: Event) -> Result<(), serde_json::Error> {
    ///     let order: serde_json::Value = event.payload.parse()?;
    ///     println!("{} {}: {order}", event.aggregate_id, event.event_type);
    ///     Ok(())
    /// }
    /// bus.subscribe_envelopes("orders", on_order).await?;
    /// # bus.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`EventBus::subscribe`]; also [`BusError::DeadLetterTopic`].
    ///
    /// # Cancel safety
    /// As [`EventBus::subscribe`].
    pub async fn subscribe_envelopes(
        &self,
        topic: &str,
        handler: impl Handler<Event>,
    ) -> Result<Subscription, BusError> {
        self.subscription(topic).envelopes(handler).await
    }

    /// Handles the regular messages of a topic: **a failure is final, and its message is not
    /// retried**. For a retry and an order for each aggregate, use
    /// [`subscribe_envelopes`](EventBus::subscribe_envelopes).
    ///
    /// A failed message is settled, logged and counted. Messages with the same key keep their
    /// order.
    ///
    /// ```
    /// # use buslane::{Config, EventBus, Message};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// bus.subscribe("cache.invalidate", async |message: Message| {
    ///     println!("drop {:?}", message.payload)
    /// })
    /// .await?;
    /// # bus.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BusError::AlreadySubscribed`], a topic name that breaks a rule, a closed bus, or the
    /// broker's reason.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either no subscription, or a complete one that goes on.
    pub async fn subscribe(
        &self,
        topic: &str,
        handler: impl Handler<Message>,
    ) -> Result<Subscription, BusError> {
        self.subscription(topic).messages(handler).await
    }

    /// Starts a subscription with options; it begins with [`SubscriptionBuilder::envelopes`] or
    /// [`SubscriptionBuilder::messages`].
    ///
    /// ```
    /// # use buslane::{Config, Event, EventBus, Retry};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// # async fn on_order(_: Event) {}
    /// bus.subscription("orders")
    ///     .retry(Retry::attempts(3))
    ///     .dead_letter("orders.dlq")
    ///     .envelopes(on_order)
    ///     .await?;
    /// # bus.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a builder subscribes by `messages` or `envelopes`"]
    pub fn subscription(&self, topic: &str) -> SubscriptionBuilder {
        SubscriptionBuilder::new(self, topic)
    }

    /// Ends the subscription of a topic; see [`Subscription::unsubscribe`].
    ///
    /// # Errors
    /// [`BusError::NotSubscribed`], a topic name that breaks a rule, a closed bus, or the broker's
    /// reason.
    pub async fn unsubscribe(&self, topic: &str) -> Result<(), BusError> {
        self.open()?;
        let topic = Topic::new(topic)?;
        subscription::end(self, &topic, None).await
    }

    /// Waits until everything published so far is handled, no longer than `deadline`: until the
    /// group has settled each message that the broker stored before the call in a topic to which
    /// this bus is subscribed. A message is settled when its handler has succeeded, or when it was
    /// given up: written as a dead letter, or skipped.
    ///
    /// It counts all partitions of these topics, whichever member of the group reads them: it waits
    /// for other processes of the group, and for the first assignment after a subscription. It does
    /// not count messages that are published after the call, also not those that handlers publish.
    /// A message of a [`settle_first`](SubscriptionBuilder::settle_first) subscription counts as
    /// handled when its handler begins. It waits neither for announced topics without a handler nor
    /// for core NATS, which stores nothing.
    ///
    /// Messages of a key that fails for ever, and of a paused subscription, are not handled before
    /// the deadline: the answer names the partitions that hold them.
    ///
    /// ```
    /// # use buslane::{Config, Envelope, Event, EventBus};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// # bus.subscribe_envelopes("orders", async |_: Event| ()).await?;
    /// # bus.publish_envelope("orders", Envelope::new("order-42", "OrderPlaced", &1)?).await?;
    /// let drained = bus.drained(Duration::from_secs(10)).await?;
    /// assert!(drained.is_complete(), "left: {:?}", drained.left);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A closed bus, or the broker's reason when it did not report its progress within `deadline`.
    ///
    /// # Cancel safety
    /// It only reads: dropping the future changes nothing.
    pub async fn drained(&self, deadline: Duration) -> Result<Drained, BusError> {
        drained::drained(self, deadline).await
    }

    /// Shuts the bus down within `deadline`: stops reading, handles the queued messages, settles
    /// them, closes the broker and joins every task. What is left then is delivered again later.
    /// Handlers may publish until the lanes are drained.
    ///
    /// It does not wait for messages that the broker holds and no pump has read yet:
    /// [`EventBus::drained`] does. Kafka and NATS keep them for the next member of the group; with
    /// `memory://` they end with the process, and [`ShutdownReport::unhandled`] counts them.
    ///
    /// Tasks of the runtime keep the deadline. Handlers that block all of its threads, such as with
    /// `std::thread::sleep`, delay it until one of them returns. Blocking work belongs on
    /// `tokio::task::spawn_blocking`.
    ///
    /// Later and concurrent calls, also of [`EventBus::close`], wait for the first one and get its
    /// answer.
    ///
    /// ```
    /// # use buslane::{Config, EventBus};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let report = bus.shutdown(Duration::from_secs(10)).await?;
    /// assert_eq!((report.abandoned, report.unhandled), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BusError::Closed`] when the task that shuts the bus down ends early: its runtime stops, or
    /// the broker panics. A shutdown that left work or closed the broker out of order is no error:
    /// the report says so.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a shutdown that has begun.
    pub async fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, BusError> {
        shutdown::shutdown(&self.0, deadline).await
    }

    /// Shuts the bus down as [`EventBus::shutdown`] does, within the configured
    /// [`shutdown_deadline`](Config::shutdown_deadline).
    ///
    /// # Errors
    /// As [`EventBus::shutdown`].
    ///
    /// # Cancel safety
    /// As [`EventBus::shutdown`].
    pub async fn close(&self) -> Result<ShutdownReport, BusError> {
        self.shutdown(self.0.config.shutdown_deadline).await
    }

    /// The checked name of a topic to publish to. Publishing ends later than subscribing: handlers
    /// may publish while the lanes are drained.
    fn publishing(&self, topic: &str) -> Result<PublishTarget, BusError> {
        if self.0.closing.is_drained() {
            return Err(BusError::Closed);
        }
        self.0.targets.get(topic)
    }

    fn open(&self) -> Result<&Inner, BusError> {
        if self.0.closing.has_begun() { Err(BusError::Closed) } else { Ok(&self.0) }
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("backend", &self.0.broker.backend())
            .field("pool", &self.0.flow.pool.name())
            .finish_non_exhaustive()
    }
}
