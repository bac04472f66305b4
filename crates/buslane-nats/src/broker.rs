//! The broker: durable consumers and a publisher on one connection.

use crate::{
    ConnectError,
    config::{NatsConfig, Partitions},
    consumers::DurableConsumer,
    lease::{Coordinator, keep_leases},
    link::{self, Link},
    names,
    partition_log::NatsLog,
    publisher::Publisher,
    readers::{ReadMode, Readers, SourceId},
    source::DurableSource,
    topics::Topics,
};
use buslane_core::{
    Answer, Backend, BoxFuture, Broker, BrokerCounts, BrokerError, BrokerEvent, EventQueue, Lag,
    Progress, PublishError, Receipt, Record, SubscribeOptions, Symptom, Topic, TopicSettings,
    TopicStorage, TopicStrategy, broker::PartitionLog, excerpt,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why a key of several topics may be handled in two processes: each topic has its own leases.
const SCATTERED: &str = "NATS shares out the partitions of each topic on its own: a key of several topics needs one \
                         process, or handlers that allow it (`lane_scope: topic`)";

/// A connection to NATS JetStream. The documentation of the crate describes its guarantees, and its
/// first example connects, publishes and reads.
///
/// # Drop behaviour
/// Dropping the broker without [`Broker::close`] acts like a crash: the server delivers open
/// messages again after `ack_wait`.
pub struct NatsBroker {
    config: NatsConfig,
    settings: Arc<crate::ConsumerConfig>,
    link: Arc<Link>,
    topics: Arc<Topics>,
    publisher: Arc<Publisher>,
    readers: Arc<Readers>,
    coordinator: Arc<Coordinator>,
    events: Arc<EventQueue>,
    subscribed: tokio::sync::Mutex<HashMap<Topic, Option<SourceId>>>,
    tasks: TaskTracker,
    /// Tasks that must outlive all others.
    link_tasks: TaskTracker,
    alive: CancellationToken,
    closing: AtomicBool,
    end: OnceCell<Result<(), BrokerError>>,
}

impl std::fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBroker")
            .field("servers", &self.config.servers)
            .field("group", &self.config.group)
            .finish_non_exhaustive()
    }
}

/// How long the last confirmations may take beyond the deadline of a close.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a subscription waits for an unreachable server, or for a cluster to elect leaders.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

impl NatsBroker {
    /// Connects, and checks the version of the server and JetStream. Waits for at most
    /// [`NatsConfig::connect_timeout`] for the connection.
    ///
    /// ```no_run
    /// use buslane_core::Broker;
    /// use buslane_nats::{NatsBroker, NatsConfig};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = NatsConfig { servers: "localhost:4222".to_owned(), ..NatsConfig::default() };
    /// let broker = NatsBroker::connect(config).await?;
    /// broker.ping().await?;
    /// broker.close(Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a setting breaks a rule, a file cannot be used, no server answers, the server refuses
    /// the login, is too old or runs without JetStream. The error contains no secret.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the connection attempt.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: NatsConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        let events = Arc::new(EventQueue::default());
        // Boxed, because the client's own future is large.
        let link = Arc::new(Box::pin(Link::connect(&config, Arc::clone(&events))).await?);
        let topics = Arc::new(Topics::new(Arc::clone(&link), &config));
        let publisher =
            Arc::new(Publisher::new(Arc::clone(&link), Arc::clone(&topics), &config.publisher));
        let (tasks, alive) = (TaskTracker::new(), CancellationToken::new());
        let link_tasks = TaskTracker::new();
        link_tasks
            .spawn(alive.clone().run_until_cancelled_owned(Arc::clone(&link).replace_clients()));
        tasks.spawn(alive.clone().run_until_cancelled_owned(publisher.listen().await?));
        let settings = Arc::new(config.consumer.clone());
        let readers = Readers::new(
            Arc::clone(&link),
            Arc::clone(&events),
            Arc::clone(&settings),
            tasks.clone(),
            alive.clone(),
        );
        let readers = Arc::new(readers);
        let coordinator = Arc::new(Coordinator::new(
            Arc::clone(&link),
            Arc::clone(&topics),
            Arc::clone(&readers),
            Arc::clone(&settings),
            &config.group,
            config.stream.replication.map_or(1, usize::from),
        ));
        tasks.spawn(alive.clone().run_until_cancelled_owned(keep_leases(Arc::clone(&coordinator))));
        Ok(Self {
            config,
            settings,
            link,
            topics,
            publisher,
            readers,
            coordinator,
            events,
            subscribed: tokio::sync::Mutex::default(),
            tasks,
            link_tasks,
            alive,
            closing: AtomicBool::new(false),
            end: OnceCell::new(),
        })
    }

    fn open(&self) -> Result<(), BrokerError> {
        if self.closing.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// Starts to read a topic. Returns its source, unless leases decide which sources are read.
    async fn subscribe_one(
        &self,
        topic: &Topic,
        options: SubscribeOptions,
    ) -> Result<Option<SourceId>, BrokerError> {
        let storage = if options.ephemeral { TopicStorage::Memory } else { TopicStorage::File };
        let known = self.topics.ensure(topic, storage).await?;
        let Some(stream) = &known.stream else {
            let source = (topic.clone(), None);
            self.readers
                .start(source.clone(), ReadMode::Ephemeral(names::token(&self.config.group)));
            return Ok(Some(source));
        };
        if !options.ephemeral && known.in_memory {
            tracing::warn!(
                topic = topic.as_str(),
                stream = &**stream,
                "envelopes in memory: they are gone with the server"
            );
        }
        let has_leases = self.link.version >= link::NEEDED_FOR_PARTITIONS;
        let is_meant = options.ephemeral || self.config.stream.partitions == Partitions::Shared;
        let is_shared = known.partitions.is_none() && (is_meant || !has_leases);
        if is_shared && !is_meant {
            let (needed, present) =
                (link::NEEDED_FOR_PARTITIONS.to_string(), self.link.version.to_string());
            tracing::warn!(
                topic = topic.as_str(),
                needed,
                present,
                "keys have no order across processes: server too old"
            );
        }
        if !is_shared {
            if known.partitions.is_none() {
                let more =
                    "configure_topic with partitions and `expand` lets several read it, in order";
                tracing::info!(
                    topic = topic.as_str(),
                    stream = &**stream,
                    more,
                    "topic without partitions: one member of the group reads it at a time"
                );
            }
            return self.coordinator.read(topic, stream, known.partitions).await.map(|()| None);
        }
        let consumer = DurableConsumer::new(
            &self.topics,
            &self.settings,
            &self.config.group,
            topic,
            None,
            stream,
        )?;
        consumer.ensure(&self.link, 0).await?;
        let source = (topic.clone(), None);
        let mode = ReadMode::Durable(DurableSource { consumer, lease: None });
        self.readers.start(source.clone(), mode);
        Ok(Some(source))
    }

    /// As [`Self::subscribe_one`], with retries while the server cannot answer.
    async fn subscribe_with_retries(
        &self,
        topic: &Topic,
        options: SubscribeOptions,
    ) -> Result<Option<SourceId>, BrokerError> {
        let (until, mut has_warned) = (Instant::now() + SUBSCRIBE_TIMEOUT, false);
        loop {
            let answer = self.subscribe_one(topic, options).await;
            match &answer {
                Err(BrokerError::Unreachable { reason }) if Instant::now() < until => {
                    if !std::mem::replace(&mut has_warned, true) {
                        tracing::warn!(topic = topic.as_str(), reason = %excerpt::error(&reason), "cannot subscribe yet");
                    }
                }
                _ => return answer,
            }
            self.open()?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn end(&self, timeout: Duration) -> Result<(), BrokerError> {
        let deadline = Instant::now() + timeout;
        // Those of partitions that left before were told of then.
        let left_before = self.readers.left();
        self.events.close();
        self.coordinator.leave(Some(deadline));
        self.readers.end_all(Some(deadline));
        self.publisher.close(timeout.max(CONFIRM_TIMEOUT)).await;
        self.tasks.close();
        let last = tokio::time::Instant::from_std(deadline) + CONFIRM_TIMEOUT;
        let is_over = tokio::time::timeout_at(last, self.tasks.wait()).await.is_ok();
        self.alive.cancel();
        self.tasks.wait().await;
        self.link_tasks.close();
        self.link_tasks.wait().await;
        if tokio::time::timeout(CONFIRM_TIMEOUT, self.link.client().drain()).await.is_err() {
            tracing::warn!("the connection does not end in order");
        }
        match self.readers.left() - left_before {
            0 if is_over => Ok(()),
            open => Err(BrokerError::Timeout {
                what: format!("{open} open messages of group {}", self.config.group),
                deadline: timeout,
            }),
        }
    }
}

impl Drop for NatsBroker {
    fn drop(&mut self) {
        self.events.close();
        self.alive.cancel();
    }
}

impl Broker for NatsBroker {
    fn backend(&self) -> Backend {
        Backend::Nats
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        records: Vec<Record>,
    ) -> Answer<'a, Vec<Result<Receipt, PublishError>>> {
        if records.is_empty() {
            return Answer::Now(Vec::new());
        }
        Answer::Later(Box::pin(self.publisher.publish(topic, records)))
    }

    fn ensure_log<'a>(
        &'a self,
        topic: &'a Topic,
        log: &'a Topic,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.open()?;
            self.topics.ensure_log(topic, log).await
        })
    }

    fn log(&self, log: &Topic, partition: u32) -> Option<Arc<dyn PartitionLog>> {
        let stream = self.topics.known(log)?.stream?;
        Some(Arc::new(NatsLog::new(&self.link, &self.topics, log, stream, partition)))
    }

    fn ensure_topic<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.open()?;
            match self.topics.ensure(topic, TopicStorage::File).await?.stream {
                Some(_) => Ok(()),
                None => {
                    let rule = "the topic is ephemeral: nothing is stored".to_owned();
                    Err(BrokerError::Setting { topic: topic.clone(), setting: "storage", rule })
                }
            }
        })
    }

    fn subscribe<'a>(
        &'a self,
        topics: &'a [(Topic, SubscribeOptions)],
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            for (topic, options) in topics {
                self.open()?;
                let mut subscribed = self.subscribed.lock().await;
                if !subscribed.contains_key(topic) {
                    self.readers.forget(topic);
                }
                self.readers.set(topic, *options);
                if !subscribed.contains_key(topic) {
                    let source = self.subscribe_with_retries(topic, *options).await?;
                    subscribed.insert(topic.clone(), source);
                }
            }
            self.open()
        })
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.open()?;
            let deadline = Instant::now() + self.settings.drain_deadline;
            match self.subscribed.lock().await.remove(topic) {
                None => {}
                Some(None) => self.coordinator.drop_topic(topic).await,
                Some(Some(source)) => drop(self.readers.end(&source, Some(deadline))),
            }
            Ok(())
        })
    }

    fn next_event(&self) -> BoxFuture<'_, Option<BrokerEvent>> {
        Box::pin(self.events.next())
    }

    fn configure_topic<'a>(
        &'a self,
        topic: &'a Topic,
        settings: &'a TopicSettings,
        strategy: TopicStrategy,
    ) -> BoxFuture<'a, Result<TopicSettings, BrokerError>> {
        Box::pin(async move {
            self.open()?;
            let present = self.topics.configure(topic, settings, strategy).await?;
            self.coordinator.adapt(topic).await?;
            Ok(present)
        })
    }

    fn topic_settings<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>> {
        Box::pin(async move {
            self.open()?;
            self.topics.settings(topic).await
        })
    }

    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>> {
        Box::pin(async move {
            self.open()?;
            self.readers.lag().await
        })
    }

    fn progress<'a>(
        &'a self,
        topics: &'a [Topic],
    ) -> BoxFuture<'a, Result<Vec<Progress>, BrokerError>> {
        Box::pin(async move {
            self.open()?;
            let mut all = Vec::new();
            for topic in topics {
                let known = match self.topics.known(topic) {
                    Some(known) => known,
                    None => self.topics.ensure(topic, TopicStorage::File).await?,
                };
                // Core NATS stores no messages.
                let Some(stream) = &known.stream else { continue };
                let partitions = known
                    .partitions
                    .map_or_else(|| vec![None], |count| (0..count).map(Some).collect());
                for partition in partitions {
                    let group = &self.config.group;
                    let consumer = DurableConsumer::new(
                        &self.topics,
                        &self.settings,
                        group,
                        topic,
                        partition,
                        stream,
                    )?;
                    all.extend(consumer.progress(&self.link).await?);
                }
            }
            Ok(all)
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.link.ping())
    }

    fn symptoms(&self) -> Vec<Symptom> {
        self.link.symptoms.all()
    }

    fn scatters(&self, topics: &[&Topic]) -> Option<String> {
        (topics.len() > 1).then(|| SCATTERED.to_owned())
    }

    fn counts(&self) -> BrokerCounts {
        BrokerCounts {
            unreadable: self.link.unreadable.load(Ordering::Relaxed),
            ..self.link.stragglers.counts()
        }
    }

    fn stop_reading(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.coordinator.leave(None);
            self.readers.end_all(None);
        })
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.closing.store(true, Ordering::Release);
            self.end.get_or_init(|| self.end(deadline)).await.clone()
        })
    }
}
