//! Kafka as a bus sees it: one group member and one producer.

use crate::{config::KafkaConfig, consumer::Consumer, producer::Producer, topics::Topics};
use buslane_core::{
    Answer, Backend, BoxFuture, Broker, BrokerError, BrokerEvent, Lag, PublishError, Receipt, Record, SubscribeOptions,
    Topic, TopicSettings, TopicStrategy,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::OnceCell, task::spawn_blocking, time::Instant};

/// A connection to Apache Kafka; see the crate's own documentation.
///
/// # Drop behaviour
/// Dropping it without [`Broker::close`] commits what is settled and leaves the group; what is open is not awaited and
/// delivered again. All of it happens on threads of its own.
pub struct KafkaBroker {
    config: KafkaConfig,
    consumer: Consumer,
    topics: Option<Arc<Topics>>,
    producer: Option<Arc<Producer>>,
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
    /// A rule that the configuration breaks, or why no broker has answered within the connect timeout: a refused
    /// login and an untrusted certificate are named.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(config: KafkaConfig) -> Result<Self, crate::ConnectError> {
        config.validate()?;
        let producer = Arc::new(Producer::start(&config)?);
        let (asked, patience) = (Arc::clone(&producer), config.connect_timeout);
        let answer = spawn_blocking(move || {
            let answer = asked.client().fetch_metadata(None, patience).map(drop);
            answer.map_err(|error| asked.explain(&error))
        });
        if let Err(reason) = answer.await.unwrap_or_else(|error| Err(error.to_string())) {
            spawn_blocking(move || drop(producer));
            return Err(BrokerError::Unreachable { reason: format!("{}: {reason}", config.brokers) }.into());
        }
        let consumer = Consumer::start(&config)?;
        let topics =
            Topics::new(config.client(), config.request_timeout, config.create_missing.clone(), Arc::clone(&producer));
        Ok(Self {
            config,
            consumer,
            topics: Some(Arc::new(topics)),
            producer: Some(producer),
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
        let left = self.consumer.close(deadline).await;
        if let Some(producer) = &self.producer {
            let producer = Arc::clone(producer);
            let patience = until.saturating_duration_since(Instant::now()).max(LAST_FLUSH);
            let _ = spawn_blocking(move || producer.close(patience)).await;
        }
        left
    }
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        let (topics, producer) = (self.topics.take(), self.producer.take());
        // Dropping a client waits for its threads, so that happens where waiting harms nobody.
        let clean = std::thread::Builder::new().name("buslane-kafka-end".to_owned()).spawn(move || {
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

    fn publish<'a>(&'a self, topic: &'a Topic, records: Vec<Record>) -> Answer<'a, Vec<Result<Receipt, PublishError>>> {
        let (Some(producer), Some(topics)) = (&self.producer, &self.topics) else {
            return Answer::Now(vec![Err(PublishError::Closed); records.len()]);
        };
        if records.is_empty() {
            return Answer::Now(Vec::new());
        }
        if let Some(acked) = topics.prepared(topic) {
            return producer.publish(topic, acked, records);
        }
        Answer::Later(Box::pin(async move {
            match topics.prepare(topic).await {
                Ok(acked) => producer.publish(topic, acked, records).get().await,
                Err(error) => {
                    let error = match error {
                        BrokerError::Closed => PublishError::Closed,
                        BrokerError::Unreachable { reason } => PublishError::Unreachable { reason },
                        other => PublishError::Refused { topic: topic.clone(), reason: other.to_string() },
                    };
                    vec![Err(error); records.len()]
                }
            }
        }))
    }

    fn subscribe<'a>(&'a self, topics: &'a [(Topic, SubscribeOptions)]) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            for (topic, _) in topics {
                self.topics()?.ensure(topic).await?;
            }
            self.consumer.subscribe(topics.to_vec()).await
        })
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.topics()?;
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

    fn topic_settings<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>> {
        Box::pin(async move { self.topics()?.settings(topic).await })
    }

    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>> {
        Box::pin(self.consumer.lag())
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
