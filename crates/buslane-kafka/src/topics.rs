//! Topics and their settings.
//!
//! Blocking calls of the client run on tokio's threads for blocking work.

mod admin;
mod scatter;
mod settings;

use crate::{
    config::Assignment,
    keeper::Current,
    producer::{Producer, Target},
};
use admin::Admin;
use buslane_core::{BrokerError, Topic, TopicSettings};
use parking_lot::RwLock;
use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataPartition,
    types::RDKafkaRespErr,
};
use settings::{check, compression_name};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant as Moment, sleep},
};

const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const COMPRESSION: &str = "compression.type";
/// Time between two looks for a new topic, which every broker is to know within the request
/// timeout.
const SPREAD_PAUSE: Duration = Duration::from_millis(20);
/// How long the first record of a topic waits until all partitions have a leader that serves.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Topics {
    config: rdkafka::ClientConfig,
    patience: Duration,
    create_missing: Option<TopicSettings>,
    /// Of whoever does something to a topic now.
    admin: Mutex<Weak<Admin>>,
    producer: Arc<Producer>,
    token: Option<Current>,
    /// May be published to.
    prepared: RwLock<HashMap<Topic, Arc<Target>>>,
    /// Partitions of the topics that are read, as they were when that began.
    read: RwLock<HashMap<Topic, u32>>,
    /// One look-up or creation at a time: the second finds what the first made.
    preparing: Mutex<()>,
}

/// What the brokers say of a topic.
#[derive(Debug, Clone, Copy)]
struct Found {
    partitions: u32,
    replicas: u16,
    /// Each partition has a leader.
    is_led: bool,
}

impl Topics {
    pub(crate) fn new(
        config: rdkafka::ClientConfig,
        patience: Duration,
        create_missing: Option<TopicSettings>,
        producer: Arc<Producer>,
        token: Option<Current>,
    ) -> Self {
        Self {
            config,
            patience,
            create_missing,
            admin: Mutex::default(),
            producer,
            token,
            prepared: RwLock::default(),
            read: RwLock::default(),
            preparing: Mutex::default(),
        }
    }

    /// What to publish a topic with, if it has been prepared.
    pub(crate) fn prepared(&self, topic: &Topic) -> Option<Arc<Target>> {
        self.prepared.read().get(topic).cloned()
    }

    /// Makes sure that the topic exists and that its leaders serve: see [`Target`] for what happens
    /// otherwise.
    pub(crate) async fn prepare(&self, topic: &Topic) -> Result<Arc<Target>, BrokerError> {
        let _one = self.preparing.lock().await;
        if let Some(prepared) = self.prepared(topic) {
            return Ok(prepared);
        }
        let partitions = self.find_or_create(topic).await?;
        self.until_served(topic, partitions).await;
        let target = Arc::new(Target::new(topic.clone(), partitions));
        self.prepared.write().insert(topic.clone(), Arc::clone(&target));
        Ok(target)
    }

    /// Makes sure that a topic to be read exists, and creates it where that is wanted.
    pub(crate) async fn ensure(&self, topic: &Topic) -> Result<(), BrokerError> {
        let _one = self.preparing.lock().await;
        let partitions = self.find_or_create(topic).await?;
        self.read.write().insert(topic.clone(), partitions);
        Ok(())
    }

    /// See [`Broker::scatters`](buslane_core::Broker::scatters).
    pub(crate) fn scatter(&self, assignment: Assignment, topics: &[&Topic]) -> Option<String> {
        let read = self.read.read();
        let partitions: Vec<_> =
            topics.iter().filter_map(|topic| Some((*topic, *read.get(*topic)?))).collect();
        scatter::scatter(assignment, &partitions)
    }

    async fn find_or_create(&self, topic: &Topic) -> Result<u32, BrokerError> {
        match (self.find(topic).await?, &self.create_missing) {
            (Some(found), _) => Ok(found.partitions),
            (None, Some(settings)) => self.create(topic, settings).await,
            (None, None) => Err(BrokerError::UnknownTopic { topic: topic.clone() }),
        }
    }

    /// Returns how many partitions it has.
    async fn create(&self, topic: &Topic, settings: &TopicSettings) -> Result<u32, BrokerError> {
        check(topic, settings)?;
        let admin = self.admin().await?;
        let partitions =
            settings.partitions.map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX));
        let replication = settings.replication.map_or(-1, i32::from);
        let (retention, bytes) = (
            settings.retention.map(|time| time.as_millis().to_string()),
            settings.retention_bytes.map(|bytes| bytes.to_string()),
        );
        let compression =
            settings.compression.map(|compression| compression_name(compression).to_owned());
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        for (name, value) in
            [(RETENTION, &retention), (RETENTION_BYTES, &bytes), (COMPRESSION, &compression)]
        {
            if let Some(value) = value {
                new = new.set(name, value);
            }
        }
        let answers = admin
            .create_topics(&[new], &self.options())
            .await
            .map_err(|error| self.error(&error))?;
        match answers.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => {}
            Some(Err((_, error))) => {
                let setting = match error {
                    RDKafkaErrorCode::InvalidPartitions => "partitions",
                    RDKafkaErrorCode::InvalidReplicationFactor => "replication",
                    RDKafkaErrorCode::InvalidConfig => "retention",
                    _ => "topic",
                };
                return Err(BrokerError::Setting {
                    topic: topic.clone(),
                    setting,
                    rule: error.to_string(),
                });
            }
        }
        self.until_spread(topic, settings.partitions.unwrap_or(1)).await
    }

    /// Waits until the brokers answer with at least so many partitions that have a leader; returns
    /// how many there are.
    async fn until_spread(&self, topic: &Topic, partitions: u32) -> Result<u32, BrokerError> {
        let deadline = Moment::now() + self.patience;
        loop {
            if let Some(found) = self.find(topic).await?
                && found.is_led
                && found.partitions >= partitions
            {
                return Ok(found.partitions);
            }
            if Moment::now() >= deadline {
                let what = format!("the creation of {partitions} partitions of topic {topic}");
                return Err(BrokerError::Timeout { what, deadline: self.patience });
            }
            sleep(SPREAD_PAUSE).await;
        }
    }

    /// Waits until the leader of each partition answers as one: a broker may be named the leader
    /// before it knows. A partition that is without one for longer does not hold up the others.
    async fn until_served(&self, topic: &Topic, partitions: u32) {
        let (producer, topic) = (Arc::clone(&self.producer), topic.clone());
        let ask = move || {
            let deadline = Instant::now() + LEADER_PATIENCE;
            for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
                loop {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match producer.client().fetch_watermarks(&topic, partition, left) {
                        Ok(_) => break,
                        Err(_) if left > SPREAD_PAUSE => std::thread::sleep(SPREAD_PAUSE),
                        Err(error) => {
                            tracing::warn!(%topic, partition, %error, "no leader serves the partition yet");
                            break;
                        }
                    }
                }
            }
        };
        let _ = spawn_blocking(ask).await;
    }

    /// `None` when there is no such topic.
    async fn find(&self, topic: &Topic) -> Result<Option<Found>, BrokerError> {
        let (producer, topic, patience) =
            (Arc::clone(&self.producer), topic.clone(), self.patience);
        let answer = spawn_blocking(move || {
            let metadata = producer.ask(&topic, patience);
            let metadata = metadata
                .map_err(|error| BrokerError::Unreachable { reason: producer.explain(&error) })?;
            let Some(known) = metadata.topics().iter().find(|known| known.name() == topic.as_str())
            else {
                return Ok(None);
            };
            if known.error() == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
                let rule = "this client has no right to it: TOPIC_AUTHORIZATION_FAILED".to_owned();
                return Err(BrokerError::Setting { topic, setting: "permission", rule });
            }
            let partitions = known.partitions();
            let found = |first: &MetadataPartition| {
                Some(Found {
                    partitions: u32::try_from(partitions.len()).ok()?,
                    replicas: u16::try_from(first.replicas().len()).unwrap_or(u16::MAX),
                    is_led: partitions.iter().all(|partition| partition.leader() >= 0),
                })
            };
            Ok(partitions.first().filter(|_| known.error().is_none()).and_then(found))
        });
        match answer.await {
            Ok(found) => found,
            Err(error) => Err(BrokerError::Unreachable { reason: error.to_string() }),
        }
    }

    /// The client is everybody's until the last one lets go of it.
    async fn admin(&self) -> Result<Arc<Admin>, BrokerError> {
        let mut present = self.admin.lock().await;
        if let Some(admin) = present.upgrade() {
            return Ok(admin);
        }
        let config = self.config.clone();
        let admin = match spawn_blocking(move || Admin::new(&config)).await {
            Ok(Ok(admin)) => Arc::new(admin),
            Ok(Err(error)) => return Err(self.error(&error)),
            Err(error) => return Err(BrokerError::Unreachable { reason: error.to_string() }),
        };
        if let Some(token) = &self.token {
            token
                .get()
                .hand_to(admin.inner())
                .map_err(|reason| BrokerError::Unreachable { reason })?;
        }
        *present = Arc::downgrade(&admin);
        Ok(admin)
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.patience))
            .operation_timeout(Some(self.patience))
    }

    fn error(&self, error: &KafkaError) -> BrokerError {
        BrokerError::Unreachable { reason: self.producer.explain(error) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Topics;
    use crate::{KafkaConfig, producer::Producer};
    use buslane_core::{BrokerError, Topic};
    use rdkafka::{mocking::MockCluster, types::RDKafkaRespErr};
    use std::{fs, sync::Arc, time::Duration};
    use tokio::time::{Instant, sleep};

    /// Threads that rdkafka runs for an admin client; the system cuts the name, which a thread
    /// gives itself as it begins.
    fn admin_threads() -> usize {
        let threads = fs::read_dir("/proc/self/task").expect("a process has threads");
        let names = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        names.filter(|name| name.starts_with("admin client")).count()
    }

    async fn until_threads(count: usize) {
        let begin = Instant::now();
        while admin_threads() != count {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "{} threads instead of {count}",
                admin_threads()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn k6_a_topic_without_a_right_to_it_is_refused_by_name() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        let (topic, denied) = (
            Topic::new("denied").expect("a good name"),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        );
        cluster.create_topic(&topic, 1, 1).expect("a topic");
        cluster.topic_error(&topic, denied).expect("refused from now on");
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        let producer = Arc::new(Producer::start(&config).expect("a producer"));
        let topics = Topics::new(config.client(), Duration::from_secs(10), None, producer, None);
        let error = topics.prepare(&topic).await.map(drop).expect_err("no right");
        assert!(
            matches!(error, BrokerError::Setting { .. })
                && error.to_string().contains("denied: permission"),
            "{error}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn t5_at_rest_there_is_no_admin_client() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        let producer = Arc::new(Producer::start(&config).expect("a producer"));
        let topics = Topics::new(config.client(), Duration::from_secs(1), None, producer, None);
        let one = topics.admin().await.expect("a client");
        let two = topics.admin().await.expect("a client");
        assert!(Arc::ptr_eq(&one, &two), "two at a time use the same");
        until_threads(1).await;
        drop((one, two));
        until_threads(0).await;
        assert!(topics.admin().await.is_ok(), "and the next change makes one");
    }
}
