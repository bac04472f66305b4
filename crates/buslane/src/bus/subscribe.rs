//! Subscribing: the short forms, and the builder with everything that can be chosen.

use super::EventBus;
use crate::{
    BusError, Class, Classifier, Retry, Terminal, classify,
    config::DeadLetterFormat,
    flow::{Erased, Extractor, Limits, Policy, Services, Subscribed, erase_envelopes, erase_regular},
};
use buslane_core::{Event, Handler, HandlerError, Headers, Kind, Message, SubscribeOptions, Topic};
use bytes::Bytes;
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use tokio_util::task::TaskTracker;

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

    /// Ends it. Queued messages are left for redelivery; a running handler goes on and is settled. Other
    /// subscriptions are not disturbed. A later subscription to the same topic is left alone.
    ///
    /// # Errors
    /// [`BusError::NotSubscribed`] when it has ended already; a closed bus; the broker's reason.
    pub async fn unsubscribe(&self) -> Result<(), BusError> {
        self.bus.end(&self.subscribed.topic, Some(&self.subscribed)).await
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
    /// [`BusError::AlreadySubscribed`], a topic name that breaks a rule, a closed bus, or the broker's reason.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either no subscription or a whole one that goes on.
    pub async fn subscribe(&self, topic: &str, handler: impl Handler<Message>) -> Result<Subscription, BusError> {
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
        let config = &self.0.config;
        SubscriptionBuilder {
            bus: self.clone(),
            topic: topic.to_owned(),
            retry: Retry {
                attempts: config.retry.attempts,
                initial: config.retry.initial,
                max: config.retry.max,
                jitter: config.retry.jitter,
            },
            terminal: TerminalChoice::of(&config.terminal),
            classifier: Arc::new(classify),
            extractor: None,
            ordered: true,
            rate: None,
            concurrency: None,
            timeout: None,
            options: SubscribeOptions::default(),
        }
    }

    /// Ends the subscription of a topic; see [`Subscription::unsubscribe`].
    ///
    /// # Errors
    /// [`BusError::NotSubscribed`], a topic name that breaks a rule, a closed bus, or the broker's reason.
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
            let Some(ended) = ended else { return Err(BusError::NotSubscribed(topic)) };
            // What has not started goes back first; the broker then waits for what runs.
            inner.flow.pool.purge(&|job| *job.message.topic() == topic);
            inner.broker.unsubscribe(&topic).await?;
            inner.joined.lock().remove(&topic);
            // A reader may have had messages in its hands.
            ended.readers.close();
            ended.readers.wait().await;
            inner.flow.pool.purge(&|job| *job.message.topic() == topic);
            Ok(())
        })
        .await
    }

    /// Runs a change of what the broker reads in a task of its own, so that a caller who gives up does not leave
    /// half of it. A shutdown ends it.
    pub(super) async fn change_membership<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, BusError>> + Send + 'static,
    ) -> Result<T, BusError> {
        let inner = self.open()?;
        let change = inner.flow.reading.clone().run_until_cancelled_owned(change);
        inner.tasks.spawn(change).await.ok().flatten().unwrap_or(Err(BusError::Closed))
    }

    async fn begin(&self, subscribed: Subscribed) -> Result<Subscription, BusError> {
        let bus = self.clone();
        self.change_membership(async move {
            let inner = bus.open()?;
            let subscribed = Arc::new(subscribed);
            inner.flow.registry.insert(Arc::clone(&subscribed))?;
            let joining = inner.joining.lock().await;
            let joined = inner.joined.lock().contains(&subscribed.topic);
            if !joined {
                let topics = [(subscribed.topic.clone(), subscribed.options)];
                if let Err(error) = inner.broker.subscribe(&topics).await {
                    inner.flow.registry.remove(&subscribed.topic, Some(&subscribed));
                    return Err(error.into());
                }
                inner.joined.lock().insert(subscribed.topic.clone());
            }
            drop(joining);
            Ok(Subscription { bus: bus.clone(), subscribed })
        })
        .await
    }
}

/// The terminal policy as chosen; topic names are checked when the subscription begins.
enum TerminalChoice {
    Block,
    Skip,
    DeadLetter(String, DeadLetterFormat),
}

impl TerminalChoice {
    fn of(config: &crate::config::TerminalConfig) -> Self {
        use crate::config::TerminalConfig;
        match config {
            TerminalConfig::Block => Self::Block,
            TerminalConfig::Skip => Self::Skip,
            TerminalConfig::DeadLetter { topic, format } => Self::DeadLetter(topic.clone(), *format),
        }
    }

    fn checked(self) -> Result<Terminal, BusError> {
        Ok(match self {
            Self::Block => Terminal::Block,
            Self::Skip => Terminal::Skip,
            Self::DeadLetter(topic, format) => Terminal::DeadLetter { topic: Topic::new(&topic)?, format },
        })
    }
}

/// A subscription in the making. Options are checked when it begins.
#[must_use = "a builder subscribes by `messages` or `envelopes`"]
pub struct SubscriptionBuilder {
    bus: EventBus,
    topic: String,
    retry: Retry,
    terminal: TerminalChoice,
    classifier: Classifier,
    extractor: Option<Extractor>,
    ordered: bool,
    rate: Option<(u32, u32)>,
    concurrency: Option<usize>,
    timeout: Option<Duration>,
    options: SubscribeOptions,
}

impl SubscriptionBuilder {
    /// Retries of envelopes. Default: the configuration's.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Writes what is given up to this topic, with headers that say where it came from and why.
    pub fn dead_letter(mut self, topic: &str) -> Self {
        self.terminal = TerminalChoice::DeadLetter(topic.to_owned(), DeadLetterFormat::Headers);
        self
    }

    /// As [`SubscriptionBuilder::dead_letter`], each dead letter being one JSON document.
    pub fn dead_letter_documents(mut self, topic: &str) -> Self {
        self.terminal = TerminalChoice::DeadLetter(topic.to_owned(), DeadLetterFormat::Document);
        self
    }

    /// Settles, counts and logs what is given up.
    pub fn skip_failed(mut self) -> Self {
        self.terminal = TerminalChoice::Skip;
        self
    }

    /// Lets the key of what is given up wait, and tries it again at the longest backoff.
    pub fn block_failed(mut self) -> Self {
        self.terminal = TerminalChoice::Block;
        self
    }

    /// Decides which errors make sense to try again. Default: [`classify`].
    pub fn classifier(mut self, classifier: impl Fn(&HandlerError) -> Class + Send + Sync + 'static) -> Self {
        self.classifier = Arc::new(classifier);
        self
    }

    /// Finds the key of a message itself; `None` sends it round-robin. Default: headers, then body or record key.
    pub fn key(mut self, extractor: impl Fn(&Headers, &Bytes) -> Option<Bytes> + Send + Sync + 'static) -> Self {
        self.extractor = Some(Arc::new(extractor));
        self
    }

    /// Whether messages of a key keep their order. Default: yes. Without order every message runs when a worker is
    /// free.
    pub const fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// At most this many messages a second, and bursts of at most `burst`. Default: no limit. Both at least 1.
    pub const fn rate(mut self, per_second: u32, burst: u32) -> Self {
        self.rate = Some((per_second, burst));
        self
    }

    /// At most this many messages taken from the broker and not ended, at least 1. Default: no limit. Messages that
    /// wait for a retry or behind one count too.
    pub const fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = Some(messages);
        self
    }

    /// Cancels a handler that runs longer, as a failure. Default: no limit. More than zero.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Settles each message before its handler: strict at-most-once. Regular messages only. Default: no.
    pub const fn settle_first(mut self) -> Self {
        self.options.settle_first = true;
        self
    }

    /// Begins a subscription to regular messages.
    ///
    /// # Errors
    /// An option that breaks a rule; else as [`EventBus::subscribe`].
    pub async fn messages(self, handler: impl Handler<Message>) -> Result<Subscription, BusError> {
        self.begin(Kind::Regular, |policy, services| erase_regular(handler, policy, services)).await
    }

    /// Begins a subscription to envelopes.
    ///
    /// # Errors
    /// An option that breaks a rule; else as [`EventBus::subscribe`].
    pub async fn envelopes(self, handler: impl Handler<Event>) -> Result<Subscription, BusError> {
        self.begin(Kind::Envelope, |policy, services| erase_envelopes(handler, policy, services)).await
    }

    async fn begin(
        self,
        kind: Kind,
        erase: impl FnOnce(Policy, Arc<Services>) -> Arc<Erased>,
    ) -> Result<Subscription, BusError> {
        let inner = self.bus.open()?;
        let topic = inner.topics.get(&self.topic)?;
        let refuse = |option, rule| Err(BusError::Option { topic: topic.clone(), option, rule });
        if self.retry.attempts == 0 {
            return refuse("retry.attempts", "must be at least 1");
        }
        if self.retry.initial.is_zero() {
            return refuse("retry.initial", "must be more than zero");
        }
        if self.retry.max < self.retry.initial {
            return refuse("retry.max", "must be at least retry.initial");
        }
        if self.concurrency == Some(0) {
            return refuse("concurrency", "must be at least 1");
        }
        if self.timeout == Some(Duration::ZERO) {
            return refuse("timeout", "must be more than zero");
        }
        if self.options.settle_first && kind == Kind::Envelope {
            return refuse("settle_first", "is for regular messages: envelopes are delivered at least once");
        }
        let rate = match self.rate.map(|(rate, burst)| (NonZeroU32::new(rate), NonZeroU32::new(burst))) {
            None => None,
            Some((Some(rate), Some(burst))) => Some((rate, burst)),
            Some(_) => return refuse("rate", "rate and burst must be at least 1"),
        };
        let policy = Policy {
            retry: self.retry,
            terminal: self.terminal.checked()?,
            classifier: self.classifier,
            timeout: self.timeout,
        };
        let handler = erase(policy, Arc::clone(&inner.flow.services));
        let limits = Limits::new(rate, self.concurrency);
        let (extractor, ordered, options) = (self.extractor, self.ordered, self.options);
        let bus = self.bus.clone();
        let readers = TaskTracker::new();
        bus.begin(Subscribed { topic, kind, handler, extractor, ordered, limits, options, readers }).await
    }
}
