//! Subscribing: the short forms, and the running subscription.

use super::{EventBus, SubscriptionBuilder};
use crate::{BusError, flow::Subscribed};
use buslane_core::{BrokerError, Event, Handler, Message, Topic, excerpt};
use std::sync::Arc;
use tracing::warn;

/// A running subscription.
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
    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.subscribed.topic
    }

    /// Ends it. Queued messages are left for redelivery; a running handler goes on and is settled.
    /// Other subscriptions are not disturbed. A later subscription to the same topic is left alone.
    ///
    /// # Errors
    /// [`BusError::NotSubscribed`] when it has ended already; a closed bus; the broker's reason.
    pub async fn unsubscribe(&self) -> Result<(), BusError> {
        self.bus.end(&self.subscribed.topic, Some(&self.subscribed)).await
    }
}

impl Subscription {
    /// Starts no more messages of the topic, until [`Subscription::resume`]. What is in the lanes
    /// already goes on, and what waits stays with the broker. Other subscriptions are not
    /// disturbed, and the member stays in its group. A pause is healthy; one that is longer than
    /// [`pause_limit`](crate::config::HealthConfig::pause_limit) is a warning.
    pub fn pause(&self) {
        self.subscribed.pause.set(true);
    }

    /// Goes on after [`Subscription::pause`].
    pub fn resume(&self) {
        self.subscribed.pause.set(false);
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.subscribed.pause.is_on()
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("topic", self.topic()).finish_non_exhaustive()
    }
}

impl EventBus {
    /// Handles the regular messages of a topic. A failure is final.
    ///
    /// # Errors
    /// [`BusError::AlreadySubscribed`], a topic name that breaks a rule, a closed bus, or the
    /// broker's reason; for envelopes also [`BusError::DeadLetterTopic`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves either no subscription or a whole one that goes on.
    pub async fn subscribe(
        &self,
        topic: &str,
        handler: impl Handler<Message>,
    ) -> Result<Subscription, BusError> {
        self.subscription(topic).messages(handler).await
    }

    /// Handles the envelopes of a topic: at least once, in order per aggregate.
    ///
    /// # Errors
    /// As [`EventBus::subscribe`].
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

    /// Starts a subscription with options; it begins with [`SubscriptionBuilder::messages`] or
    /// [`SubscriptionBuilder::envelopes`].
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
        let topic = self.open()?.topics.get(topic)?;
        self.end(&topic, None).await
    }

    async fn end(&self, topic: &Topic, only: Option<&Arc<Subscribed>>) -> Result<(), BusError> {
        let (bus, topic, only) = (self.clone(), topic.clone(), only.cloned());
        self.change_membership(async move {
            let inner = bus.open()?;
            let _joining = inner.joining.lock().await;
            let ended = inner.flow.registry.remove(&topic, only.as_ref());
            let Some(ended) = ended else {
                // A shutdown ends all subscriptions.
                bus.open()?;
                return Err(BusError::NotSubscribed(topic));
            };
            // Readers first: a message that one of them has in its hands must not pass those that
            // go back now. The broker then waits for what runs.
            ended.readers.close();
            ended.readers.wait().await;
            inner.flow.pool.purge(&|job| *job.message.topic() == topic);
            inner.broker.unsubscribe(&topic).await?;
            inner.joined.lock().remove(&topic);
            Ok(())
        })
        .await
    }

    /// Runs a change of what the broker reads in a task of its own, so that a caller who gives up
    /// does not leave half of it. A shutdown ends it.
    pub(super) async fn change_membership<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, BusError>> + Send + 'static,
    ) -> Result<T, BusError> {
        let inner = self.open()?;
        let change = inner.flow.state.reading.clone().run_until_cancelled_owned(change);
        inner.tasks.spawn(change).await.ok().flatten().unwrap_or(Err(BusError::Closed))
    }

    /// Looks whether the dead letters of a topic could be written, before a message needs it. A
    /// broker that is away is no answer: subscribing itself knows how long to wait for it.
    pub(super) async fn ensure_dead_letters(
        &self,
        topic: &Topic,
        dead_letters: &Topic,
    ) -> Result<(), BusError> {
        let (bus, topic, dead_letters) = (self.clone(), topic.clone(), dead_letters.clone());
        self.change_membership(async move {
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

    pub(super) async fn begin(&self, subscribed: Subscribed) -> Result<Subscription, BusError> {
        let bus = self.clone();
        self.change_membership(async move {
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
                // Before there is a handler: none of the messages that were held may reach it
                // unsettled, or without its key.
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
            inner.scatter.look(&inner.flow, &*inner.broker);
            Ok(Subscription { bus: bus.clone(), subscribed })
        })
        .await
    }
}
