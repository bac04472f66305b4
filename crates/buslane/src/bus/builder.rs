//! A subscription in the making: every option, and the rules that they keep.

use super::{EventBus, ShadowedSubscription, Subscription, subscription};
use crate::{
    BusError, Class, Classifier, DeadLetterFormat, Retry, Terminal,
    config::RateLimit,
    flow::{
        Erased, Extractor, Pause, Policy, Services, Shadow, Subscribed, TerminalPolicy,
        erase_envelopes, erase_regular, permits,
    },
    metrics::SubscriptionMetrics,
};
use buslane_core::{
    Backend, Event, Handler, HandlerError, Headers, Kind, Message, SubscribeOptions, Topic,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A subscription in the making: [`EventBus::subscription`] starts it, [`envelopes`] or
/// [`messages`] begins it. Options are checked when it begins.
///
/// ```
/// use buslane::{Class, Config, Event, EventBus, Retry, classify};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = EventBus::connect(Config::default()).await?;
/// # async fn on_order(_: Event) {}
/// bus.subscription("orders")
///     .retry(Retry::attempts(3).backoff(Duration::from_millis(50), Duration::from_secs(1)))
///     .classifier(|error| match error.downcast_ref::<std::num::ParseIntError>() {
///         Some(_) => Class::Permanent,
///         None => classify(error),
///     })
///     .dead_letter("orders.dlq")
///     .timeout(Duration::from_secs(5))
///     .rate(1_000, 100)
///     .concurrency(64)
///     .envelopes(on_order)
///     .await?;
/// # bus.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// [`envelopes`]: SubscriptionBuilder::envelopes
/// [`messages`]: SubscriptionBuilder::messages
#[must_use = "a builder subscribes by `messages` or `envelopes`"]
pub struct SubscriptionBuilder {
    pub(super) bus: EventBus,
    topic: String,
    retry: Retry,
    terminal: Terminal,
    classifier: Classifier,
    extractor: Option<Extractor>,
    ordered: bool,
    rate: Option<RateLimit>,
    concurrency: Option<usize>,
    pub(super) timeout: Option<Duration>,
    options: SubscribeOptions,
    /// The last option set that applies to envelopes alone.
    for_envelopes: Option<&'static str>,
}

impl SubscriptionBuilder {
    pub(super) fn new(bus: &EventBus, topic: &str) -> Self {
        let config = &bus.0.config;
        Self {
            bus: bus.clone(),
            topic: topic.to_owned(),
            retry: config.retry,
            terminal: config.terminal.clone(),
            classifier: Arc::clone(&bus.0.classifier),
            extractor: None,
            ordered: true,
            rate: None,
            concurrency: None,
            timeout: None,
            options: SubscribeOptions::default(),
            for_envelopes: None,
        }
    }

    /// How often and when a failed envelope is retried. Default: the configuration's. Envelopes
    /// only.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus, Retry};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").retry(Retry::never());
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self.for_envelopes = Some("retry");
        self
    }

    /// What happens to an envelope whose last attempt failed, or that can never be handled.
    /// Default: the configuration's. [`dead_letter`](Self::dead_letter),
    /// [`skip_failed`](Self::skip_failed) and [`block_failed`](Self::block_failed) are short forms.
    /// Envelopes only.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus, Terminal};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").terminal(Terminal::Skip);
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn terminal(self, policy: Terminal) -> Self {
        self.give_up_by("terminal", policy)
    }

    /// Writes envelopes that are given up to this topic, with headers for their source and their
    /// error. Envelopes only.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").dead_letter("orders.dlq");
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn dead_letter(self, topic: &str) -> Self {
        self.give_up_by("dead_letter", Terminal::dead_letter(topic))
    }

    /// As [`SubscriptionBuilder::dead_letter`], with one JSON document as each dead letter.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").dead_letter_documents("orders.dlq");
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn dead_letter_documents(self, topic: &str) -> Self {
        let (topic, format) = (topic.to_owned(), DeadLetterFormat::Document);
        self.give_up_by("dead_letter", Terminal::DeadLetter { topic, format })
    }

    /// Settles, counts and logs envelopes that are given up. Envelopes only.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let views = bus.subscription("page.views").skip_failed();
    /// # views.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn skip_failed(self) -> Self {
        self.give_up_by("skip_failed", Terminal::Skip)
    }

    /// Blocks the key of an envelope that is given up, and retries it at the longest backoff.
    /// Envelopes only.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let ledger = bus.subscription("ledger").block_failed();
    /// # ledger.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn block_failed(self) -> Self {
        self.give_up_by("block_failed", Terminal::Block)
    }

    /// Sets an envelope that is given up aside, with every later one of its key, in the topic
    /// `{topic}.parked`, until an operator redrives them. Other keys continue. Envelopes only.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").park();
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn park(self) -> Self {
        self.give_up_by("park", Terminal::Park)
    }

    /// As [`park`](Self::park), in this topic.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").park_to("set-aside.orders");
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn park_to(self, log: impl Into<String>) -> Self {
        self.give_up_by("park_to", Terminal::ParkTo { topic: log.into() })
    }

    fn give_up_by(mut self, option: &'static str, policy: Terminal) -> Self {
        self.terminal = policy;
        self.for_envelopes = Some(option);
        self
    }

    /// Decides which errors are worth another attempt, of those that the configuration does not
    /// [name](crate::ErrorClasses). Default: the classifier of the
    /// [bus](crate::BusBuilder::classifier). Envelopes only.
    ///
    /// ```
    /// # use buslane::{BusError, Class, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").classifier(|error| match error.to_string() {
    ///     text if text.contains("no such customer") => Class::Permanent,
    ///     _ => Class::Transient,
    /// });
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn classifier(
        mut self,
        classifier: impl Fn(&HandlerError) -> Class + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Arc::new(classifier);
        self.for_envelopes = Some("classifier");
        self
    }

    /// Extracts the key of a message from its headers and body; `None` and an empty key send it
    /// round-robin. Default: headers, then body or record key.
    ///
    /// ```
    /// # use buslane::{BusError, Config, EventBus, Message};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let tenant = |_: &_, body: &bytes::Bytes| Some(body.slice(..body.len().min(4)));
    /// let by_tenant = bus.subscription("audit").key(tenant);
    /// # by_tenant.messages(async |_: Message| ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn key(
        mut self,
        extractor: impl Fn(&Headers, &Bytes) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.extractor = Some(Arc::new(extractor));
        self
    }

    /// Whether messages of a key keep their order. Default: yes. Without order every message runs
    /// as soon as a worker is free.
    ///
    /// ```
    /// # use buslane::{BusError, Config, EventBus, Message};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let thumbnails = bus.subscription("thumbnails").ordered(false);
    /// # thumbnails.messages(async |_: Message| ()).await?;
    /// # Ok(()) }
    /// ```
    pub const fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// At most `per_second` messages, 1 to 10,000,000, in bursts of at most `burst`, which is at
    /// least 1. Default: the configured limit of the topic, or none.
    /// [`Limits::set_subscribe_of`](crate::Limits::set_subscribe_of) changes it later.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let mails = bus.subscription("mails").rate(100, 10);
    /// # mails.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub const fn rate(mut self, per_second: u32, burst: u32) -> Self {
        self.rate = Some(RateLimit::new(per_second, burst));
        self
    }

    /// At most this many messages between the broker and their end, at least 1. Default: no limit.
    /// Messages that wait for a retry, or behind one, count too.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let reports = bus.subscription("reports").concurrency(4);
    /// # reports.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub const fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = Some(messages);
        self
    }

    /// Cancels a handler that runs longer; that is a failure. Default: no limit. More than zero.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let orders = bus.subscription("orders").timeout(Duration::from_secs(5));
    /// # orders.envelopes(async |_: Event| ()).await?;
    /// # Ok(()) }
    /// ```
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Settles each message before its handler: strict at-most-once. Regular messages only.
    /// Default: no.
    ///
    /// ```
    /// # use buslane::{BusError, Config, EventBus, Message};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// let pushes = bus.subscription("pushes").settle_first();
    /// # pushes.messages(async |_: Message| ()).await?;
    /// # Ok(()) }
    /// ```
    pub const fn settle_first(mut self) -> Self {
        self.options.settle_first = true;
        self
    }

    /// Falls back to the last token of the subject as the key of a message without one. Of a
    /// partition's subject, only a token behind the partition's number counts. NATS only. Default:
    /// no.
    ///
    /// ```no_run
    /// # use buslane::{Config, EventBus, Message};
    /// # async fn example(bus: EventBus) -> Result<(), buslane::BusError> {
    /// let devices = bus.subscription("devices").key_from_subject(); // devices.42: key 42
    /// # devices.messages(async |_: Message| ()).await?;
    /// # Ok(()) }
    /// ```
    pub const fn key_from_subject(mut self) -> Self {
        self.options.subject_key = true;
        self
    }

    /// Runs `percent` of the messages, 1 to 100 and evenly spread, a second time with `twin` in
    /// place of the handler, on the kind of pool that does not run their key at that moment. Their
    /// success and their time are compared: see
    /// [`RolloutStatus::shadow`](crate::rollout::RolloutStatus::shadow), the metrics
    /// `shadow_messages_total` and `shadow_latency_seconds`, and the log line `twin differs from
    /// its handler`. The last option.
    ///
    /// The twin must have no side effects: it runs in addition. Its result is not settled, retried
    /// or given up. It has the subscription's [`timeout`](SubscriptionBuilder::timeout), and should
    /// have one: a twin that never ends keeps its worker until the shutdown, and without a free
    /// worker further twins are dropped and counted.
    ///
    /// Twins run in pools of their own, with the configured sizes and bounds, made for the first
    /// twin. Messages never wait for them, and they are in no figure of the pools. They share the
    /// executor, and memory up to the same bounds.
    ///
    /// ```
    /// # use buslane::{BusError, Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BusError> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// # async fn on_order(_: Event) {}
    /// # async fn on_order_dry_run(_: Event) {}
    /// bus.subscription("orders").shadow(5, on_order_dry_run).envelopes(on_order).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Drop behaviour
    /// A message that is left for redelivery drops its twin; a shutdown drops all twins at once.
    pub fn shadow<T>(self, percent: u8, twin: T) -> ShadowedSubscription<T> {
        ShadowedSubscription::new(self, percent, twin)
    }

    /// Begins a subscription to envelopes: at least once, in order for each aggregate.
    ///
    /// # Errors
    /// An option that breaks a rule; else as [`EventBus::subscribe_envelopes`].
    pub async fn envelopes(self, handler: impl Handler<Event>) -> Result<Subscription, BusError> {
        self.begin_envelopes(handler, None).await
    }

    /// Begins a subscription to regular messages: a failure is final.
    ///
    /// # Errors
    /// An option that breaks a rule; else as [`EventBus::subscribe`].
    pub async fn messages(self, handler: impl Handler<Message>) -> Result<Subscription, BusError> {
        self.begin_messages(handler, None).await
    }

    pub(super) async fn begin_messages(
        self,
        handler: impl Handler<Message>,
        shadow: Option<Shadow>,
    ) -> Result<Subscription, BusError> {
        let erase = |policy, services, metrics| erase_regular(handler, policy, services, metrics);
        self.begin(Kind::Regular, erase, shadow).await
    }

    pub(super) async fn begin_envelopes(
        self,
        handler: impl Handler<Event>,
        shadow: Option<Shadow>,
    ) -> Result<Subscription, BusError> {
        let erase = |policy, services, metrics| erase_envelopes(handler, policy, services, metrics);
        self.begin(Kind::Envelope, erase, shadow).await
    }

    async fn begin(
        self,
        kind: Kind,
        erase: impl FnOnce(Policy, Arc<Services>, Arc<SubscriptionMetrics>) -> Arc<Erased>,
        shadow: Option<Shadow>,
    ) -> Result<Subscription, BusError> {
        let inner = self.bus.open()?;
        let topic = Topic::new(&self.topic)?;
        let broken = self.broken_rule(kind, inner.broker.backend(), shadow.as_ref());
        if let Some((option, rule)) = broken {
            return Err(BusError::Option { topic, option, rule });
        }
        let terminal = match self.terminal {
            Terminal::Block => TerminalPolicy::Block,
            Terminal::Skip => TerminalPolicy::Skip,
            Terminal::DeadLetter { topic, format } => {
                TerminalPolicy::DeadLetter { topic: Topic::new(&topic)?, format }
            }
            Terminal::Park => TerminalPolicy::Park { log: Topic::new(&format!("{topic}.parked"))? },
            Terminal::ParkTo { topic } => TerminalPolicy::Park { log: Topic::new(&topic)? },
        };
        let rate = match self.rate {
            None => inner.flow.rates.of(&topic),
            limit => Arc::new(inner.flow.rates.limiter(limit)),
        };
        if let (Kind::Envelope, TerminalPolicy::DeadLetter { topic: dead_letters, .. }) =
            (kind, &terminal)
        {
            subscription::ensure_dead_letters(&self.bus, &topic, dead_letters).await?;
        }
        let mut parking = None;
        if let (Kind::Envelope, TerminalPolicy::Park { log }) = (kind, &terminal) {
            subscription::ensure_log(&self.bus, &topic, log).await?;
            parking = Some(log.clone());
        }
        let policy = Policy {
            retry: self.retry,
            terminal,
            classifier: inner.config.errors.before(self.classifier),
            timeout: self.timeout,
        };
        let services = Arc::clone(&inner.flow.services);
        let metrics = Arc::new(services.metrics.subscription(&topic, kind));
        let subscribed = Subscribed {
            topic,
            kind,
            handler: erase(policy, services, Arc::clone(&metrics)),
            metrics,
            shadow,
            extractor: self.extractor,
            ordered: self.ordered,
            rate,
            permits: permits(self.concurrency),
            // Envelopes must survive their broker.
            options: SubscribeOptions { ephemeral: kind == Kind::Regular, ..self.options },
            parking,
            pause: Pause::default(),
            readers: TaskTracker::new(),
            gone: CancellationToken::new(),
        };
        subscription::begin(&self.bus, subscribed).await
    }

    /// The first option that breaks a rule, and the rule.
    fn broken_rule(
        &self,
        kind: Kind,
        backend: Backend,
        shadow: Option<&Shadow>,
    ) -> Option<(&'static str, &'static str)> {
        let is_envelope = kind == Kind::Envelope;
        let reads_own_letters = match &self.terminal {
            Terminal::DeadLetter { topic, .. } | Terminal::ParkTo { topic } => *topic == self.topic,
            _ => false,
        };
        let rate = self.rate.unwrap_or(RateLimit::new(1, 1));
        let percent = shadow.map_or(1, Shadow::percent);
        let other_kind = self.for_envelopes.filter(|_| !is_envelope);
        let rules = [
            (self.retry.attempts == 0, "retry.attempts", "must be at least 1"),
            (self.retry.initial.is_zero(), "retry.initial", "must be more than zero"),
            (self.retry.max < self.retry.initial, "retry.max", "must be at least retry.initial"),
            (self.concurrency == Some(0), "concurrency", "must be at least 1"),
            (self.timeout == Some(Duration::ZERO), "timeout", "must be more than zero"),
            (!(1..=100).contains(&percent), "shadow.percent", "must be from 1 to 100"),
            (
                shadow.is_some() && cfg!(not(feature = "actor")),
                "shadow",
                "needs the cargo feature actor of buslane",
            ),
            (
                shadow.is_some() && self.bus.flow().rollout.pools().is_none(),
                "shadow",
                "compares the pools of the bus, and this one runs a pool of its own",
            ),
            (
                self.options.settle_first && is_envelope,
                "settle_first",
                "is for regular messages: envelopes are delivered at least once",
            ),
            (
                self.options.subject_key && backend != Backend::Nats,
                "key_from_subject",
                "is for NATS: messages of other brokers have no subject",
            ),
            (
                other_kind.is_some(),
                other_kind.unwrap_or_default(),
                "is for envelopes: the failure of a regular message is final",
            ),
            (
                is_envelope && reads_own_letters,
                if let Terminal::ParkTo { .. } = self.terminal { "park_to" } else { "dead_letter" },
                "must be another topic than the one that is read",
            ),
            (
                !(1..=RateLimit::MOST).contains(&rate.per_second),
                "rate.per_second",
                "must be from 1 to 10000000",
            ),
            (rate.burst == 0, "rate.burst", "must be at least 1"),
        ];
        let broken = rules.into_iter().find(|(is_broken, ..)| *is_broken)?;
        Some((broken.1, broken.2))
    }
}
