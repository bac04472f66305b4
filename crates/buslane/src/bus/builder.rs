//! A subscription in the making: every option, and the rules they keep.

use super::{EventBus, ShadowedSubscription, Subscription};
use crate::{
    BusError, Class, Classifier, Retry, Terminal, classify,
    config::{DeadLetterFormat, RateLimit},
    flow::{
        Erased, Extractor, Pause, Policy, Services, Shadow, Subscribed, erase_envelopes,
        erase_regular, permits,
    },
};
use buslane_core::{
    Backend, Event, Handler, HandlerError, Headers, Kind, Message, SubscribeOptions, Topic,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
            TerminalConfig::DeadLetter { topic, format } => {
                Self::DeadLetter(topic.clone(), *format)
            }
        }
    }

    fn checked(self) -> Result<Terminal, BusError> {
        Ok(match self {
            Self::Block => Terminal::Block,
            Self::Skip => Terminal::Skip,
            Self::DeadLetter(topic, format) => {
                Terminal::DeadLetter { topic: Topic::new(&topic)?, format }
            }
        })
    }
}

/// A subscription in the making. Options are checked when it begins.
#[must_use = "a builder subscribes by `messages` or `envelopes`"]
pub struct SubscriptionBuilder {
    pub(super) bus: EventBus,
    topic: String,
    retry: Retry,
    terminal: TerminalChoice,
    classifier: Classifier,
    extractor: Option<Extractor>,
    ordered: bool,
    rate: Option<RateLimit>,
    concurrency: Option<usize>,
    pub(super) timeout: Option<Duration>,
    options: SubscribeOptions,
    /// The option chosen last that has a meaning for envelopes alone.
    for_envelopes: Option<&'static str>,
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
            for_envelopes: None,
        }
    }

    /// Retries. Default: the configuration's. Envelopes only.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self.for_envelopes = Some("retry");
        self
    }

    /// What becomes of an envelope that no further attempt will help. Default: the configuration's.
    /// [`dead_letter`](Self::dead_letter), [`skip_failed`](Self::skip_failed) and
    /// [`block_failed`](Self::block_failed) are short for it. Envelopes only.
    pub fn terminal(self, policy: Terminal) -> Self {
        let choice = match policy {
            Terminal::Block => TerminalChoice::Block,
            Terminal::Skip => TerminalChoice::Skip,
            Terminal::DeadLetter { topic, format } => {
                TerminalChoice::DeadLetter(topic.as_str().to_owned(), format)
            }
        };
        self.give_up_by("terminal", choice)
    }

    /// Writes envelopes that are given up to this topic, with headers that say where each came from
    /// and why it failed. Envelopes only.
    pub fn dead_letter(self, topic: &str) -> Self {
        self.give_up_by(
            "dead_letter",
            TerminalChoice::DeadLetter(topic.to_owned(), DeadLetterFormat::Headers),
        )
    }

    /// As [`SubscriptionBuilder::dead_letter`], with one JSON document as each dead letter.
    pub fn dead_letter_documents(self, topic: &str) -> Self {
        self.give_up_by(
            "dead_letter",
            TerminalChoice::DeadLetter(topic.to_owned(), DeadLetterFormat::Document),
        )
    }

    /// Settles, counts and logs envelopes that are given up. Envelopes only.
    pub fn skip_failed(self) -> Self {
        self.give_up_by("skip_failed", TerminalChoice::Skip)
    }

    /// Blocks the key of an envelope that is given up, and tries it again at the longest backoff.
    /// Envelopes only.
    pub fn block_failed(self) -> Self {
        self.give_up_by("block_failed", TerminalChoice::Block)
    }

    fn give_up_by(mut self, option: &'static str, choice: TerminalChoice) -> Self {
        self.terminal = choice;
        self.for_envelopes = Some(option);
        self
    }

    /// Decides which errors make sense to try again. Default: [`classify`]. Envelopes only.
    pub fn classifier(
        mut self,
        classifier: impl Fn(&HandlerError) -> Class + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Arc::new(classifier);
        self.for_envelopes = Some("classifier");
        self
    }

    /// Finds the key of a message itself; `None` and an empty one send it round-robin. Default:
    /// headers, then body or record key.
    pub fn key(
        mut self,
        extractor: impl Fn(&Headers, &Bytes) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.extractor = Some(Arc::new(extractor));
        self
    }

    /// Whether messages of a key keep their order. Default: yes. Without order every message runs
    /// when a worker is free.
    pub const fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// At most this many messages a second, 1 to 10,000,000, and bursts of at most `burst`, at
    /// least 1. Default: the configured limit of the topic, or none.
    /// [`Limits::set_subscribe_of`](crate::Limits::set_subscribe_of) changes it later.
    pub const fn rate(mut self, per_second: u32, burst: u32) -> Self {
        self.rate = Some(RateLimit::new(per_second, burst));
        self
    }

    /// At most this many messages taken from the broker and not ended, at least 1. Default: no
    /// limit. Messages that wait for a retry or behind one count too.
    pub const fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = Some(messages);
        self
    }

    /// Cancels a handler that runs longer, as a failure. Default: no limit. More than zero.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Settles each message before its handler: strict at-most-once. Regular messages only.
    /// Default: no.
    pub const fn settle_first(mut self) -> Self {
        self.options.settle_first = true;
        self
    }

    /// A message that nothing else gives a key has the last token of its subject as key. Of a
    /// partition's subject, only a token behind the partition's number. NATS only. Default: no.
    pub const fn key_from_subject(mut self) -> Self {
        self.options.subject_key = true;
        self
    }

    /// Runs `percent` of the messages, 1 to 100 and evenly spread, a second time: by `twin` in
    /// place of the handler, on the kind of pool that does not run their key at that moment.
    /// Whether both succeeded, and how long they took, is compared: see
    /// [`RolloutStatus::shadow`](crate::rollout::RolloutStatus::shadow), the metrics
    /// `shadow_messages_total` and `shadow_latency_seconds`, and the log line `twin differs from
    /// its handler`. The last option.
    ///
    /// The twin must have no side effects: what it does, it does in addition. Nothing follows from
    /// how it ends: it is not settled, not tried again, not given up. It has the subscription's
    /// [`timeout`](SubscriptionBuilder::timeout), and should have one: a twin that never ends keeps
    /// its worker until the bus is shut down, and where no worker is left the others are dropped
    /// and counted.
    ///
    /// Twins run in pools of their own with the sizes and bounds that the configuration gives to
    /// the others, made for the first of them; messages never wait for them, and they are in no
    /// figure of the pools. They use the same executor, memory up to the same bounds, and what
    /// handlers share.
    ///
    /// # Drop behaviour
    /// A message that is left for redelivery takes its twin along; a shutdown drops all twins at
    /// once.
    pub fn shadow<T>(self, percent: u8, twin: T) -> ShadowedSubscription<T> {
        ShadowedSubscription::new(self, percent, twin)
    }

    /// Begins a subscription to regular messages.
    ///
    /// # Errors
    /// An option that breaks a rule; else as [`EventBus::subscribe`].
    pub async fn messages(self, handler: impl Handler<Message>) -> Result<Subscription, BusError> {
        self.begin_messages(handler, None).await
    }

    /// Begins a subscription to envelopes.
    ///
    /// # Errors
    /// An option that breaks a rule; else as [`EventBus::subscribe`].
    pub async fn envelopes(self, handler: impl Handler<Event>) -> Result<Subscription, BusError> {
        self.begin_envelopes(handler, None).await
    }

    pub(super) async fn begin_messages(
        self,
        handler: impl Handler<Message>,
        shadow: Option<Shadow>,
    ) -> Result<Subscription, BusError> {
        self.begin(
            Kind::Regular,
            |policy, services| erase_regular(handler, policy, services),
            shadow,
        )
        .await
    }

    pub(super) async fn begin_envelopes(
        self,
        handler: impl Handler<Event>,
        shadow: Option<Shadow>,
    ) -> Result<Subscription, BusError> {
        self.begin(
            Kind::Envelope,
            |policy, services| erase_envelopes(handler, policy, services),
            shadow,
        )
        .await
    }

    async fn begin(
        self,
        kind: Kind,
        erase: impl FnOnce(Policy, Arc<Services>) -> Arc<Erased>,
        shadow: Option<Shadow>,
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
        if shadow.as_ref().is_some_and(|shadow| !(1..=100).contains(&shadow.percent())) {
            return refuse("shadow.percent", "must be from 1 to 100");
        }
        if self.options.settle_first && kind == Kind::Envelope {
            return refuse(
                "settle_first",
                "is for regular messages: envelopes are delivered at least once",
            );
        }
        if self.options.subject_key && inner.broker.backend() != Backend::Nats {
            return refuse(
                "key_from_subject",
                "is for NATS: messages of other brokers have no subject",
            );
        }
        if let Some(option) = self.for_envelopes.filter(|_| kind == Kind::Regular) {
            return refuse(option, "is for envelopes: the failure of a regular message is final");
        }
        let terminal = self.terminal.checked()?;
        if kind == Kind::Envelope
            && matches!(&terminal, Terminal::DeadLetter { topic: to, .. } if *to == topic)
        {
            return refuse("dead_letter", "must be another topic than the one that is read");
        }
        let rate = match self.rate {
            None => inner.flow.rates.of(&topic),
            Some(limit) if limit.per_second == 0 || limit.per_second > RateLimit::MOST => {
                return refuse("rate.per_second", "must be from 1 to 10000000");
            }
            Some(RateLimit { burst: 0, .. }) => return refuse("rate.burst", "must be at least 1"),
            limit => Arc::new(inner.flow.rates.limiter(limit)),
        };
        if kind == Kind::Envelope
            && let Terminal::DeadLetter { topic: dead_letters, .. } = &terminal
        {
            self.bus.ensure_dead_letters(&topic, dead_letters).await?;
        }
        let policy = Policy {
            retry: self.retry,
            terminal,
            classifier: self.classifier,
            timeout: self.timeout,
        };
        let handler = erase(policy, Arc::clone(&inner.flow.services));
        let permits = permits(self.concurrency);
        // Envelopes must survive their broker.
        let options = SubscribeOptions { ephemeral: kind == Kind::Regular, ..self.options };
        let (extractor, ordered) = (self.extractor, self.ordered);
        let bus = self.bus.clone();
        let readers = TaskTracker::new();
        bus.begin(Subscribed {
            topic,
            kind,
            handler,
            shadow,
            extractor,
            ordered,
            rate,
            permits,
            options,
            pause: Pause::default(),
            readers,
            gone: CancellationToken::new(),
        })
        .await
    }
}
