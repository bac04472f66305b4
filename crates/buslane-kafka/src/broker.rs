//! The broker that a bus uses: one group member and one producer.

use crate::{
    config::{KafkaConfig, Login},
    consumer::MemberHandle,
    drop_on_thread::drop_on_thread,
    error::ConnectError,
    leader_check::LeaderCheck,
    partition_log::{KafkaLog, Readers},
    producer::Producer,
    progress::progress,
    token::Tokens,
    token_refresher::{CurrentToken, TokenRefresher},
    topics::Topics,
};
use buslane_core::{
    Answer, Backend, BoxFuture, Broker, BrokerCounts, BrokerError, BrokerEvent, Lag, Progress,
    PublishError, Receipt, Record, SubscribeOptions, Symptom, Symptoms, Topic, TopicSettings,
    TopicStrategy, broker::PartitionLog,
};
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::OnceCell, task::spawn_blocking, time::Instant};
use tracing::warn;

/// A connection to Apache Kafka: one group member and one producer. The documentation of the crate
/// describes its guarantees, and its first example connects, publishes and reads.
///
/// # Drop behaviour
/// Dropping the broker without [`Broker::close`] commits all settled messages and leaves the group,
/// on separate threads. It does not wait for open messages, which are delivered again.
pub struct KafkaBroker {
    config: KafkaConfig,
    consumer: Arc<MemberHandle>,
    token_refresher: Option<TokenRefresher>,
    topics: Option<Arc<Topics>>,
    producer: Option<Arc<Producer>>,
    symptoms: Arc<Symptoms>,
    leader_check: Arc<LeaderCheck>,
    /// Of the logs beside partitions.
    readers: Arc<Readers>,
    closing: AtomicBool,
    end: OnceCell<Result<(), BrokerError>>,
}

impl std::fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaBroker")
            .field("brokers", &self.config.brokers)
            .field("group", &self.config.group)
            .finish_non_exhaustive()
    }
}

/// The shortest time for the flush of a close, also after the close's deadline.
const MIN_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

impl KafkaBroker {
    /// Creates the clients and waits until a broker has answered, for at most
    /// [`KafkaConfig::connect_timeout`].
    ///
    /// ```no_run
    /// use buslane_core::Broker;
    /// use buslane_kafka::{KafkaBroker, KafkaConfig};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = KafkaConfig { brokers: "localhost:9092".to_owned(), ..KafkaConfig::default() };
    /// let broker = KafkaBroker::connect(config).await?;
    /// broker.ping().await?;
    /// broker.close(Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a setting is not valid, or no broker has answered in time. The error names a refused
    /// login and an untrusted certificate, and contains no password and no token.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the connection attempt. Its clients end by themselves on
    /// separate threads, within the connect timeout.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: KafkaConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        let producer = Arc::new(Producer::start(&config)?);
        let login = match config.security.login.as_ref().and_then(Login::tokens) {
            Some(tokens) => {
                let first = first_token(&config, &tokens, &producer).await?;
                Some((tokens, first))
            }
            None => None,
        };
        let (client, timeout) = (Arc::clone(&producer), config.connect_timeout);
        let answer = spawn_blocking(move || {
            let answer = client.client().fetch_metadata(None, timeout).map(drop);
            answer.map_err(|error| client.explain(&error))
        });
        if let Err(reason) = answer.await.unwrap_or_else(|error| Err(error.to_string())) {
            spawn_blocking(move || drop(producer));
            return Err(BrokerError::Unreachable {
                reason: format!("{}: {reason}", config.brokers),
            }
            .into());
        }
        let symptoms = Arc::<Symptoms>::default();
        let consumer = Arc::new(MemberHandle::start(&config, &symptoms)?);
        let token = login.as_ref().map(|(_, token)| token.clone());
        if let Some(token) = &token {
            consumer.set_token(token.get()).await?;
        }
        let readers = Readers::new(&config, token.clone());
        let topics = Topics::new(
            config.client(),
            config.request_timeout,
            config.create_missing.clone().map(Into::into),
            Arc::clone(&producer),
            token,
        );
        let token_refresher = login.map(|(tokens, current)| {
            refresh_tokens(tokens, current, &producer, &consumer, &symptoms)
        });
        let leader_check = Arc::new(LeaderCheck::new(&symptoms, config.request_timeout));
        Ok(Self {
            config,
            consumer,
            token_refresher,
            topics: Some(Arc::new(topics)),
            producer: Some(producer),
            leader_check,
            readers,
            symptoms,
            closing: AtomicBool::new(false),
            end: OnceCell::new(),
        })
    }

    fn topics(&self) -> Result<&Arc<Topics>, BrokerError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(BrokerError::Closed);
        }
        self.topics.as_ref().ok_or(BrokerError::Closed)
    }

    async fn end(&self, deadline: Duration) -> Result<(), BrokerError> {
        let until = Instant::now() + deadline;
        if let Some(refresher) = &self.token_refresher {
            refresher.end().await;
        }
        let left = self.consumer.close(deadline).await;
        if let Some(producer) = &self.producer {
            let producer = Arc::clone(producer);
            let timeout = until.saturating_duration_since(Instant::now()).max(MIN_FLUSH_TIMEOUT);
            let _ = spawn_blocking(move || producer.close(timeout)).await;
        }
        left
    }
}

/// Fetches the first token and gives it to the producer, within the connect timeout.
async fn first_token(
    config: &KafkaConfig,
    tokens: &Tokens,
    producer: &Arc<Producer>,
) -> Result<CurrentToken, ConnectError> {
    let fetched = tokio::time::timeout(config.connect_timeout, tokens.fetch()).await;
    let token =
        fetched.unwrap_or_else(|_| Err(format!("no answer within {:?}", config.connect_timeout)));
    let given =
        token.and_then(|token| token.give_to(producer.client()).map(|()| CurrentToken::new(token)));
    given.map_err(|reason| {
        let reason = format!("{}: no token for the login: {reason}", config.brokers);
        BrokerError::Unreachable { reason }.into()
    })
}

/// Refreshes the token of the clients without keeping the clients alive.
fn refresh_tokens(
    tokens: Tokens,
    current: CurrentToken,
    producer: &Arc<Producer>,
    consumer: &Arc<MemberHandle>,
    symptoms: &Arc<Symptoms>,
) -> TokenRefresher {
    let (producer, consumer) = (Arc::downgrade(producer), Arc::downgrade(consumer));
    TokenRefresher::start(tokens, current, Arc::clone(symptoms), move |token| {
        let (producer, consumer) = (Weak::clone(&producer), Weak::clone(&consumer));
        let copy = token.clone();
        // Dropping the last reference to a client waits for its threads.
        let given = spawn_blocking(move || {
            producer.upgrade().map_or(Ok(()), |producer| copy.give_to(producer.client()))
        });
        async move {
            if let Ok(Err(error)) = given.await {
                warn!(error, "the producer has not accepted a new token");
            }
            if let Some(consumer) = consumer.upgrade()
                && let Err(error) = consumer.set_token(token).await
            {
                warn!(%error, "the group member has not accepted a new token");
            }
        }
    })
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        drop_on_thread("buslane-kafka-end", (self.topics.take(), self.producer.take()));
    }
}

impl Broker for KafkaBroker {
    fn backend(&self) -> Backend {
        Backend::Kafka
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        records: Vec<Record>,
    ) -> Answer<'a, Vec<Result<Receipt, PublishError>>> {
        let (Some(producer), Some(topics)) = (&self.producer, &self.topics) else {
            return Answer::Now(vec![Err(PublishError::Closed); records.len()]);
        };
        if records.is_empty() {
            return Answer::Now(Vec::new());
        }
        if let Some(target) = topics.prepared(topic) {
            return producer.publish(target, records);
        }
        Answer::Later(Box::pin(async move {
            match topics.prepare(topic).await {
                Ok(target) => producer.publish(target, records).get().await,
                Err(error) => {
                    let error = match error {
                        BrokerError::Closed => PublishError::Closed,
                        BrokerError::Unreachable { reason } => PublishError::Unreachable { reason },
                        slow @ BrokerError::Timeout { .. } => PublishError::Unavailable {
                            topic: topic.clone(),
                            reason: slow.to_string(),
                        },
                        other => PublishError::Refused {
                            topic: topic.clone(),
                            reason: other.to_string(),
                        },
                    };
                    vec![Err(error); records.len()]
                }
            }
        }))
    }

    fn ensure_topic<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move { self.topics()?.prepare(topic).await.map(drop) })
    }

    fn subscribe<'a>(
        &'a self,
        topics: &'a [(Topic, SubscribeOptions)],
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            for (topic, _) in topics {
                self.topics()?.ensure(topic).await?;
            }
            self.consumer.subscribe(topics.to_vec()).await?;
            self.leader_check.add(topics.iter().map(|(topic, _)| topic));
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.topics()?;
            self.leader_check.remove(topic);
            self.consumer.unsubscribe(topic.clone()).await
        })
    }

    fn next_event(&self) -> BoxFuture<'_, Option<BrokerEvent>> {
        Box::pin(self.consumer.events.next())
    }

    fn configure_topic<'a>(
        &'a self,
        topic: &'a Topic,
        settings: &'a TopicSettings,
        strategy: TopicStrategy,
    ) -> BoxFuture<'a, Result<TopicSettings, BrokerError>> {
        Box::pin(async move { self.topics()?.configure(topic, settings, strategy).await })
    }

    fn topic_settings<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>> {
        Box::pin(async move { self.topics()?.settings(topic).await })
    }

    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>> {
        Box::pin(self.consumer.lag())
    }

    fn progress<'a>(
        &'a self,
        topics: &'a [Topic],
    ) -> BoxFuture<'a, Result<Vec<Progress>, BrokerError>> {
        Box::pin(async move {
            let own = self.consumer.positions().await?;
            let producer = self.producer.clone().filter(|_| !self.closing.load(Ordering::Acquire));
            let (producer, config) = (producer.ok_or(BrokerError::Closed)?, self.config.clone());
            let topics = topics.to_vec();
            let answer = spawn_blocking(move || progress(&producer, &config, &topics, own)).await;
            answer
                .unwrap_or_else(|error| Err(error.to_string()))
                .map_err(|reason| BrokerError::Unreachable { reason })
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let producer = self.producer.clone().filter(|_| !self.closing.load(Ordering::Acquire));
            let (producer, check) =
                (producer.ok_or(BrokerError::Closed)?, Arc::clone(&self.leader_check));
            let answer = spawn_blocking(move || check.run(&producer)).await;
            answer
                .unwrap_or_else(|error| Err(error.to_string()))
                .map_err(|reason| BrokerError::Unreachable { reason })
        })
    }

    fn symptoms(&self) -> Vec<Symptom> {
        self.symptoms.all()
    }

    fn counts(&self) -> BrokerCounts {
        self.consumer.counts.read()
    }

    fn scatters(&self, topics: &[&Topic]) -> Option<String> {
        self.topics.as_ref()?.scatter(self.config.consumer.assignment, topics)
    }

    fn ensure_log<'a>(
        &'a self,
        topic: &'a Topic,
        log: &'a Topic,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move { self.topics()?.ensure_log(topic, log).await })
    }

    fn log(&self, log: &Topic, partition: u32) -> Option<Arc<dyn PartitionLog>> {
        let (producer, topics) = (self.producer.as_ref()?, self.topics.as_ref()?);
        let target = topics.prepared(log)?;
        Some(Arc::new(KafkaLog::new(producer, topics, target, partition, &self.readers)))
    }

    fn stop_reading(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.consumer.stop_reading())
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.closing.store(true, Ordering::Release);
            self.end.get_or_init(|| self.end(deadline)).await.clone()
        })
    }
}
