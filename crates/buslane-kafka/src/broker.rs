//! Kafka as a bus sees it: one group member and one producer.

use crate::{
    config::{KafkaConfig, Login},
    consumer::Consumer,
    keeper::{Current, Keeper},
    leaders::Leaders,
    producer::Producer,
    progress::progress,
    token::Tokens,
    topics::Topics,
};
use buslane_core::{
    Answer, Backend, BoxFuture, Broker, BrokerError, BrokerEvent, Lag, Progress, PublishError,
    Receipt, Record, SubscribeOptions, Symptom, Symptoms, Topic, TopicSettings, TopicStrategy,
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

/// A connection to Apache Kafka; see the crate's own documentation.
///
/// # Drop behaviour
/// Dropping it without [`Broker::close`] commits what is settled and leaves the group; what is open
/// is not awaited and delivered again. All of it happens on threads of its own.
pub struct KafkaBroker {
    config: KafkaConfig,
    consumer: Arc<Consumer>,
    keeper: Option<Keeper>,
    topics: Option<Arc<Topics>>,
    producer: Option<Arc<Producer>>,
    symptoms: Arc<Symptoms>,
    leaders: Arc<Leaders>,
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

/// How long a flush may take beyond the deadline of a close.
const LAST_FLUSH: Duration = Duration::from_secs(1);

impl KafkaBroker {
    /// Makes the clients and waits until a broker has answered.
    ///
    /// # Errors
    /// A rule that the configuration breaks, or why no broker has answered within the connect
    /// timeout: a refused login and an untrusted certificate are named.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: KafkaConfig) -> Result<Self, crate::ConnectError> {
        config.validate()?;
        let producer = Arc::new(Producer::start(&config)?);
        let login = match config.security.login.as_ref().and_then(Login::tokens) {
            Some(tokens) => {
                let first = first_token(&config, &tokens, &producer).await?;
                Some((tokens, first))
            }
            None => None,
        };
        let (asked, patience) = (Arc::clone(&producer), config.connect_timeout);
        let answer = spawn_blocking(move || {
            let answer = asked.client().fetch_metadata(None, patience).map(drop);
            answer.map_err(|error| asked.explain(&error))
        });
        if let Err(reason) = answer.await.unwrap_or_else(|error| Err(error.to_string())) {
            spawn_blocking(move || drop(producer));
            return Err(BrokerError::Unreachable {
                reason: format!("{}: {reason}", config.brokers),
            }
            .into());
        }
        let symptoms = Arc::<Symptoms>::default();
        let consumer = Arc::new(Consumer::start(&config, &symptoms)?);
        let token = login.as_ref().map(|(_, token)| token.clone());
        if let Some(token) = &token {
            consumer.log_in_with(token.get()).await?;
        }
        let topics = Topics::new(
            config.client(),
            config.request_timeout,
            config.create_missing.clone().map(Into::into),
            Arc::clone(&producer),
            token,
        );
        let keeper =
            login.map(|(tokens, current)| renew(tokens, current, &producer, &consumer, &symptoms));
        let config_patience = config.request_timeout;
        Ok(Self {
            config,
            consumer,
            keeper,
            topics: Some(Arc::new(topics)),
            producer: Some(producer),
            leaders: Arc::new(Leaders::new(&symptoms, config_patience)),
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
        if let Some(keeper) = &self.keeper {
            keeper.end().await;
        }
        let left = self.consumer.close(deadline).await;
        if let Some(producer) = &self.producer {
            let producer = Arc::clone(producer);
            let patience = until.saturating_duration_since(Instant::now()).max(LAST_FLUSH);
            let _ = spawn_blocking(move || producer.close(patience)).await;
        }
        left
    }
}

/// Fetches the first token and gives it to the producer, within the connect timeout.
async fn first_token(
    config: &KafkaConfig,
    tokens: &Tokens,
    producer: &Arc<Producer>,
) -> Result<Current, crate::ConnectError> {
    let fetched = tokio::time::timeout(config.connect_timeout, tokens.fetch()).await;
    let token =
        fetched.unwrap_or_else(|_| Err(format!("no answer within {:?}", config.connect_timeout)));
    let handed =
        token.and_then(|token| token.hand_to(producer.client()).map(|()| Current::new(token)));
    handed.map_err(|reason| {
        let reason = format!("{}: no token for the login: {reason}", config.brokers);
        BrokerError::Unreachable { reason }.into()
    })
}

/// Keeps the clients' token fresh, and none of them alive.
fn renew(
    tokens: Tokens,
    current: Current,
    producer: &Arc<Producer>,
    consumer: &Arc<Consumer>,
    symptoms: &Arc<Symptoms>,
) -> Keeper {
    let (producer, consumer) = (Arc::downgrade(producer), Arc::downgrade(consumer));
    Keeper::start(tokens, current, Arc::clone(symptoms), move |token| {
        let (producer, consumer) = (Weak::clone(&producer), Weak::clone(&consumer));
        let copy = token.clone();
        // The last one to drop a client waits for its threads.
        let produces = spawn_blocking(move || {
            producer.upgrade().map_or(Ok(()), |one| copy.hand_to(one.client()))
        });
        async move {
            if let Ok(Err(error)) = produces.await {
                warn!(error, "the producer has not taken a new token");
            }
            if let Some(consumer) = consumer.upgrade()
                && let Err(error) = consumer.log_in_with(token).await
            {
                warn!(%error, "the group member has not taken a new token");
            }
        }
    })
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        let (topics, producer) = (self.topics.take(), self.producer.take());
        // Dropping a client waits for its threads, so that happens where waiting harms nobody.
        let clean =
            std::thread::Builder::new().name("buslane-kafka-end".to_owned()).spawn(move || {
                drop(topics);
                drop(producer);
            });
        drop(clean);
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
            self.leaders.add(topics.iter().map(|(topic, _)| topic));
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.topics()?;
            self.leaders.remove(topic);
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
            let own = self.consumer.standings().await?;
            let producer = self.producer.clone().filter(|_| !self.closing.load(Ordering::Acquire));
            let (producer, config) = (producer.ok_or(BrokerError::Closed)?, self.config.clone());
            let topics = topics.to_vec();
            let answer = spawn_blocking(move || progress(&producer, &config, &topics, &own)).await;
            answer
                .unwrap_or_else(|error| Err(error.to_string()))
                .map_err(|reason| BrokerError::Unreachable { reason })
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let producer = self.producer.clone().filter(|_| !self.closing.load(Ordering::Acquire));
            let (producer, leaders) =
                (producer.ok_or(BrokerError::Closed)?, Arc::clone(&self.leaders));
            let answer = spawn_blocking(move || leaders.ask(&producer)).await;
            answer
                .unwrap_or_else(|error| Err(error.to_string()))
                .map_err(|reason| BrokerError::Unreachable { reason })
        })
    }

    fn symptoms(&self) -> Vec<Symptom> {
        self.symptoms.all()
    }

    fn scatters(&self, topics: &[&Topic]) -> Option<String> {
        self.topics.as_ref()?.scatter(self.config.consumer.assignment, topics)
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
