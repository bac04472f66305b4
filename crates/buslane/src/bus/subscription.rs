//! A running subscription, and the changes of what the broker reads for a bus.
//!
//! Each change runs in a task of its own, one at a time.

use super::{EventBus, SubscriptionBuilder};
use crate::{
    BusError,
    config::LaneScope,
    flow::{Flow, Shadow, Subscribed},
};
use buslane_core::{
    Broker, BrokerError, Event, Handler, Kind, Message, SubscribeOptions, Topic, excerpt,
};
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tracing::warn;

/// A running subscription.
///
/// ```
/// # use buslane::{Config, Event, EventBus};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = EventBus::connect(Config::default()).await?;
/// let orders = bus.subscribe_envelopes("orders", async |_: Event| ()).await?;
/// orders.pause();
/// assert!(orders.is_paused());
/// orders.resume();
/// orders.unsubscribe().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Drop behaviour
/// Dropping it changes nothing: a subscription ends by [`Subscription::unsubscribe`],
/// [`EventBus::unsubscribe`] or the bus's shutdown.
#[derive(Clone)]
pub struct Subscription {
    bus: EventBus,
    subscribed: Arc<Subscribed>,
}

impl Subscription {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.subscribed.topic
    }

    /// Ends the subscription. Queued messages are left for redelivery; running handlers go on, and
    /// their messages are settled. Other subscriptions go on, and so does a later one to the same
    /// topic.
    ///
    /// # Errors
    /// [`BusError::NotSubscribed`] when it has ended already; a closed bus; the broker's reason.
    pub async fn unsubscribe(&self) -> Result<(), BusError> {
        end(&self.bus, &self.subscribed.topic, Some(&self.subscribed)).await
    }

    /// Starts no further messages of the topic until [`Subscription::resume`]. Messages in the
    /// lanes go on, the others stay with the broker. Other subscriptions go on, and the member
    /// stays in its group. A pause is healthy; one that is longer than
    /// [`pause_limit`](crate::config::HealthConfig::pause_limit) is a warning.
    pub fn pause(&self) {
        self.subscribed.pause.set(true);
    }

    /// Ends a [`Subscription::pause`].
    pub fn resume(&self) {
        self.subscribed.pause.set(false);
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.subscribed.pause.is_on()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", self.topic()).finish_non_exhaustive()
    }
}

/// A subscription in the making that runs some of its messages a second time, with a twin of its
/// handler: see [`SubscriptionBuilder::shadow`]. The compiler checks that both take the same
/// messages.
#[must_use = "a builder subscribes by `messages` or `envelopes`"]
pub struct ShadowedSubscription<T> {
    builder: SubscriptionBuilder,
    percent: u8,
    twin: T,
}

impl<T> ShadowedSubscription<T> {
    pub(super) const fn new(builder: SubscriptionBuilder, percent: u8, twin: T) -> Self {
        Self { builder, percent, twin }
    }

    /// As [`SubscriptionBuilder::messages`].
    ///
    /// # Errors
    /// A percentage that is not from 1 to 100; else as [`SubscriptionBuilder::messages`].
    pub async fn messages(self, handler: impl Handler<Message>) -> Result<Subscription, BusError>
    where
        T: Handler<Message>,
    {
        let Self { builder, percent, twin } = self;
        let comparison = builder.bus.flow().rollout.comparison();
        let shadow = Shadow::of_messages(percent, twin, builder.timeout, comparison);
        builder.begin_messages(handler, Some(shadow)).await
    }

    /// As [`SubscriptionBuilder::envelopes`].
    ///
    /// # Errors
    /// A percentage that is not from 1 to 100; else as [`SubscriptionBuilder::envelopes`].
    pub async fn envelopes(self, handler: impl Handler<Event>) -> Result<Subscription, BusError>
    where
        T: Handler<Event>,
    {
        let Self { builder, percent, twin } = self;
        let comparison = builder.bus.flow().rollout.comparison();
        let shadow = Shadow::of_envelopes(percent, twin, builder.timeout, comparison);
        builder.begin_envelopes(handler, Some(shadow)).await
    }
}

/// Ends the subscription of a topic; with `only`, that very subscription alone.
pub(super) async fn end(
    bus: &EventBus,
    topic: &Topic,
    only: Option<&Arc<Subscribed>>,
) -> Result<(), BusError> {
    let (caller, bus) = (bus, bus.clone());
    let (topic, only) = (topic.clone(), only.cloned());
    change_membership(caller, async move {
        let inner = bus.open()?;
        let _joining = inner.joining.lock().await;
        let ended = inner.flow.registry.remove(&topic, only.as_ref());
        let Some(ended) = ended else {
            // A shutdown ends all subscriptions.
            bus.open()?;
            return Err(BusError::NotSubscribed(topic));
        };
        // Readers end first: a message that one of them holds must not overtake those that are
        // given back now. The broker then waits for the running handlers.
        ended.readers.close();
        ended.readers.wait().await;
        inner.flow.pool.purge(&|job| *job.message.topic() == topic);
        inner.broker.unsubscribe(&topic).await?;
        inner.joined.lock().remove(&topic);
        Ok(())
    })
    .await
}

/// Runs a change of what the broker reads in a task of its own: a caller that drops its future
/// leaves no half of it. A shutdown ends it.
async fn change_membership<T: Send + 'static>(
    bus: &EventBus,
    change: impl Future<Output = Result<T, BusError>> + Send + 'static,
) -> Result<T, BusError> {
    let inner = bus.open()?;
    let change = inner.flow.state.reading.clone().run_until_cancelled_owned(change);
    inner.tasks.spawn(change).await.ok().flatten().unwrap_or(Err(BusError::Closed))
}

/// Checks that the dead letters of a topic can be written, before a message needs it. A broker that
/// cannot be reached does not count as a refusal: subscribing itself waits for it.
pub(super) async fn ensure_dead_letters(
    bus: &EventBus,
    topic: &Topic,
    dead_letters: &Topic,
) -> Result<(), BusError> {
    let (caller, bus) = (bus, bus.clone());
    let (topic, dead_letters) = (topic.clone(), dead_letters.clone());
    change_membership(caller, async move {
        match bus.open()?.broker.ensure_topic(&dead_letters).await {
            Ok(()) => Ok(()),
            Err(BrokerError::Closed) => Err(BusError::Closed),
            Err(error @ (BrokerError::Unreachable { .. } | BrokerError::Timeout { .. })) => {
                let error = excerpt::error(&error);
                warn!(%topic, %dead_letters, %error, "dead letter topic not checked");
                Ok(())
            }
            Err(reason) => Err(BusError::DeadLetterTopic { topic, dead_letters, reason }),
        }
    })
    .await
}

/// Checks that the keys of a topic can be parked, before a message needs it: unlike dead letters,
/// the log is read before the first message is.
pub(super) async fn ensure_log(bus: &EventBus, topic: &Topic, log: &Topic) -> Result<(), BusError> {
    let (caller, bus) = (bus, bus.clone());
    let (topic, log) = (topic.clone(), log.clone());
    change_membership(caller, async move { Ok(bus.open()?.broker.ensure_log(&topic, &log).await?) })
        .await
}

/// Begins a subscription.
pub(super) async fn begin(
    bus: &EventBus,
    subscribed: Subscribed,
) -> Result<Subscription, BusError> {
    let (caller, bus) = (bus, bus.clone());
    change_membership(caller, async move {
        let inner = bus.open()?;
        let subscribed = Arc::new(subscribed);
        if inner.flow.registry.get(&subscribed.topic).is_some() {
            return Err(BusError::AlreadySubscribed(subscribed.topic.clone()));
        }
        let joining = inner.joining.lock().await;
        let topics = [(subscribed.topic.clone(), subscribed.options)];
        let joined = inner.joined.lock().contains(&subscribed.topic);
        let options = subscribed.options;
        if joined && (options.settle_first || options.subject_key) {
            // Before the handler is registered: no held message may reach it unsettled, or without
            // its key.
            inner.broker.subscribe(&topics).await?;
        }
        inner.flow.registry.insert(Arc::clone(&subscribed))?;
        if !joined {
            if let Err(error) = inner.broker.subscribe(&topics).await {
                inner.flow.registry.remove(&subscribed.topic, Some(&subscribed));
                return Err(error.into());
            }
            inner.joined.lock().insert(subscribed.topic.clone());
        }
        drop(joining);
        inner.scatter.check(&inner.flow, &*inner.broker, &subscribed);
        Ok(Subscription { bus: bus.clone(), subscribed })
    })
    .await
}

/// Reads topics that have no handler yet.
pub(super) async fn announce(bus: &EventBus, topics: Vec<Topic>) -> Result<(), BusError> {
    if topics.is_empty() {
        return Ok(());
    }
    let (caller, bus) = (bus, bus.clone());
    change_membership(caller, async move {
        let inner = bus.open()?;
        let topics: Vec<_> =
            topics.into_iter().map(|topic| (topic, SubscribeOptions::default())).collect();
        let _joining = inner.joining.lock().await;
        inner.broker.subscribe(&topics).await?;
        inner.joined.lock().extend(topics.into_iter().map(|(topic, _)| topic));
        Ok(())
    })
    .await
}

/// Warns once where two processes of the group may handle a key at the same time.
///
/// A lane gives a key to one handler at a time within its process. Across processes that holds only
/// while the broker assigns the key's partitions of all topics to the same member.
#[derive(Default)]
pub(super) struct Scatter {
    /// The topic of the last subscription that was checked.
    last: Mutex<Option<Topic>>,
    is_logged: AtomicBool,
}

impl Scatter {
    /// Checks the topics after the subscription `new` has begun.
    ///
    /// Compares the new topic with one other only: topics that each share their members with a
    /// third one share them with each other, and a look at all topics for each new one would make
    /// ten thousand subscriptions slow.
    fn check(&self, flow: &Flow, broker: &dyn Broker, new: &Subscribed) {
        let is_ordered = |one: &Subscribed| one.kind == Kind::Envelope && one.ordered;
        let is_checked = flow.routing.lane_scope == LaneScope::Key && is_ordered(new);
        if !is_checked || self.is_logged.load(Relaxed) {
            return;
        }
        let Some(last) = self.last.lock().replace(new.topic.clone()) else { return };
        if broker.scatters(&[&last, &new.topic]).is_none() {
            return;
        }
        // The last one may have ended meanwhile.
        let mut all = flow.registry.all();
        all.retain(|one| is_ordered(one));
        all.sort_by(|one, other| one.topic.cmp(&other.topic));
        let topics: Vec<_> = all.iter().map(|one| &one.topic).collect();
        let Some(reason) = broker.scatters(&topics).filter(|_| topics.len() > 1) else { return };
        if !self.is_logged.swap(true, Relaxed) {
            let backend = broker.backend();
            warn!(%backend, ?topics, reason, "a key may be handled in two processes at once");
        }
    }
}
