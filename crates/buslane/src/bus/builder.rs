//! A subscription in the making: every option, and the rules they keep.

use super::{EventBus, Subscription};
use crate::{
    BusError, Class, Classifier, Retry, Terminal, classify,
    config::DeadLetterFormat,
    flow::{Erased, Extractor, Limits, Policy, Services, Subscribed, erase_envelopes, erase_regular},
};
use buslane_core::{Event, Handler, HandlerError, Headers, Kind, Message, SubscribeOptions, Topic};
use bytes::Bytes;
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use tokio_util::task::TaskTracker;

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
    pub(super) fn new(bus: &EventBus, topic: &str) -> Self {
        let config = &bus.0.config;
        Self {
            bus: bus.clone(),
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
