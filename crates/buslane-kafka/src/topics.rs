//! Finds and creates topics. Blocking calls of the client run on tokio's blocking threads.

mod configure;
mod log;
mod settings;

use crate::{
    config::Assignment,
    drop_on_thread::drop_on_thread,
    producer::{Producer, Target},
    token_refresher::CurrentToken,
};
use arc_swap::ArcSwap;
use buslane_core::{BrokerError, Layered, PerKey, Topic, TopicSettings};
use parking_lot::RwLock;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfig,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::MetadataPartition,
    types::RDKafkaRespErr,
};
use settings::{COMPRESSION, RETENTION, RETENTION_BYTES, check, compression_name};
use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, Semaphore},
    task::{JoinError, spawn_blocking},
    time::{Instant as Moment, sleep},
};
use tracing::warn;

/// Time between two polls for a change. All brokers must know the change within the request
/// timeout.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the first record of a topic waits until each partition has a serving leader.
const LEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest number of blocking calls that wait for a broker. tokio's blocking threads also serve
/// the application, so an outage must not take them all.
const MOST_CALLS: usize = 64;

pub(crate) struct Topics {
    config: ClientConfig,
    timeout: Duration,
    create_missing: Option<TopicSettings>,
    /// The client of the running calls.
    admin: Mutex<Weak<Admin>>,
    producer: Arc<Producer>,
    token: Option<CurrentToken>,
    /// Topics that are ready for records: a snapshot, which publishers read without a lock.
    prepared: ArcSwap<Layered<Topic, Arc<Target>>>,
    /// The number of partitions that each subscribed topic had at its subscription.
    subscribed: RwLock<HashMap<Topic, u32>>,
    /// Serialises the lookups and creations of one topic, so that a later one finds the topic that
    /// an earlier one created.
    preparing: PerKey<Topic, Mutex<()>>,
    /// One permit for each blocking call that waits for a broker.
    calls: Arc<Semaphore>,
}

/// A topic as the brokers describe it.
#[derive(Debug, Clone, Copy)]
struct TopicInfo {
    partitions: u32,
    replicas: u16,
    /// Whether each partition has a leader.
    is_led: bool,
}

impl Topics {
    pub(crate) fn new(
        config: ClientConfig,
        timeout: Duration,
        create_missing: Option<TopicSettings>,
        producer: Arc<Producer>,
        token: Option<CurrentToken>,
    ) -> Self {
        Self {
            config,
            timeout,
            create_missing,
            admin: Mutex::default(),
            producer,
            token,
            prepared: ArcSwap::default(),
            subscribed: RwLock::default(),
            preparing: PerKey::default(),
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
        }
    }

    /// The target of a topic that was prepared.
    pub(crate) fn prepared(&self, topic: &Topic) -> Option<Arc<Target>> {
        self.prepared.load().get(topic).cloned()
    }

    /// Ensures that the topic exists and that its leaders serve requests; [`Target`] gives the
    /// reason. Does not check the right to write, because metadata reveals only the right to
    /// describe the topic.
    pub(crate) async fn prepare(&self, topic: &Topic) -> Result<Arc<Target>, BrokerError> {
        let own = self.preparing.get(topic);
        let _one = own.lock().await;
        if let Some(prepared) = self.prepared(topic) {
            return Ok(prepared);
        }
        let partitions = self.find_or_create(topic).await?;
        self.until_served(topic, partitions).await;
        let target = Arc::new(Target::new(topic.clone(), partitions));
        self.prepared.rcu(|all| {
            let mut next = Layered::clone(all);
            next.insert(topic.clone(), Arc::clone(&target));
            next
        });
        Ok(target)
    }

    /// Ensures that a topic to subscribe to exists. Creates the topic if `create_missing` is set.
    pub(crate) async fn ensure(&self, topic: &Topic) -> Result<(), BrokerError> {
        let own = self.preparing.get(topic);
        let _one = own.lock().await;
        let partitions = self.find_or_create(topic).await?;
        self.subscribed.write().insert(topic.clone(), partitions);
        Ok(())
    }

    /// See [`Broker::scatters`](buslane_core::Broker::scatters).
    pub(crate) fn scatter(&self, assignment: Assignment, topics: &[&Topic]) -> Option<String> {
        let subscribed = self.subscribed.read();
        let partitions: Vec<_> =
            topics.iter().filter_map(|topic| Some((*topic, *subscribed.get(*topic)?))).collect();
        scatter(assignment, &partitions)
    }

    async fn find_or_create(&self, topic: &Topic) -> Result<u32, BrokerError> {
        match (self.find(topic).await?, &self.create_missing) {
            (Some(found), _) => Ok(found.partitions),
            (None, Some(settings)) => self.create(topic, settings).await,
            (None, None) => Err(BrokerError::UnknownTopic { topic: topic.clone() }),
        }
    }

    /// Creates a topic. Returns the number of its partitions.
    async fn create(&self, topic: &Topic, settings: &TopicSettings) -> Result<u32, BrokerError> {
        check(topic, settings)?;
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
        self.create_new(topic, new, settings.partitions.unwrap_or(1)).await
    }

    /// Creates a topic, and returns the number of its partitions, which is at least `partitions`.
    async fn create_new(
        &self,
        topic: &Topic,
        new: NewTopic<'_>,
        partitions: u32,
    ) -> Result<u32, BrokerError> {
        let admin = self.admin().await?;
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
        self.until_known(topic, partitions).await
    }

    /// Waits until the brokers know at least this number of partitions, all with a leader. Returns
    /// the number of partitions.
    async fn until_known(&self, topic: &Topic, partitions: u32) -> Result<u32, BrokerError> {
        let deadline = Moment::now() + self.timeout;
        loop {
            if let Some(found) = self.find(topic).await?
                && found.is_led
                && found.partitions >= partitions
            {
                return Ok(found.partitions);
            }
            if Moment::now() >= deadline {
                let what = format!("the creation of {partitions} partitions of topic {topic}");
                return Err(BrokerError::Timeout { what, deadline: self.timeout });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until the leader of each partition serves requests: metadata may name a leader before
    /// that broker knows of its role. A partition without a leader delays the first record by a
    /// bounded time.
    async fn until_served(&self, topic: &Topic, partitions: u32) {
        let (producer, topic) = (Arc::clone(&self.producer), topic.clone());
        let wait = move || {
            let deadline = Instant::now() + LEADER_TIMEOUT;
            for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
                loop {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match producer.client().fetch_watermarks(&topic, partition, left) {
                        Ok(_) => break,
                        Err(_) if left > POLL_INTERVAL => thread::sleep(POLL_INTERVAL),
                        Err(error) => {
                            warn!(%topic, partition, %error, "no leader serves the partition yet");
                            break;
                        }
                    }
                }
            }
        };
        let _ = self.call(wait).await;
    }

    /// Runs a call that waits for a broker. The call ends by itself after a drop of the future.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let permit = Arc::clone(&self.calls).acquire_owned().await;
        spawn_blocking(move || {
            let _permit = permit;
            call()
        })
        .await
    }

    /// Describes a topic; `None` when it does not exist.
    async fn find(&self, topic: &Topic) -> Result<Option<TopicInfo>, BrokerError> {
        let (producer, topic, timeout) = (Arc::clone(&self.producer), topic.clone(), self.timeout);
        let answer = self.call(move || {
            let metadata = producer.fetch_metadata(&topic, timeout);
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
            let info = |first: &MetadataPartition| {
                Some(TopicInfo {
                    partitions: u32::try_from(partitions.len()).ok()?,
                    replicas: u16::try_from(first.replicas().len()).unwrap_or(u16::MAX),
                    is_led: partitions.iter().all(|partition| partition.leader() >= 0),
                })
            };
            Ok(partitions.first().filter(|_| known.error().is_none()).and_then(info))
        });
        match answer.await {
            Ok(found) => found,
            Err(error) => Err(BrokerError::Unreachable { reason: error.to_string() }),
        }
    }

    /// The client of the running calls, or a new one. The last call drops the client.
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
                .give_to(admin.inner())
                .map_err(|reason| BrokerError::Unreachable { reason })?;
        }
        *present = Arc::downgrade(&admin);
        Ok(admin)
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
    }

    fn error(&self, error: &KafkaError) -> BrokerError {
        BrokerError::Unreachable { reason: self.producer.explain(error) }
    }
}

/// Why different members may hold a key in different topics; `None` when one member always holds
/// it.
///
/// A key has the same partition number in topics with equally many partitions. One member holds the
/// key in all of them exactly when the assignment gives that member this number of each topic.
fn scatter(assignment: Assignment, topics: &[(&Topic, u32)]) -> Option<String> {
    let (first, others) = topics.split_first().filter(|(_, others)| !others.is_empty())?;
    if assignment != Assignment::Range {
        let reason = "the assignment may give the same partition of two topics to different members; consumer.assignment \
                      `range` keeps them together where topics have equally many partitions";
        return Some(reason.to_owned());
    }
    let other = others.iter().find(|(_, partitions)| *partitions != first.1)?;
    Some(format!(
        "a key has different partitions in {} ({}) and {} ({}), which may belong to different members; give topics equally \
         many partitions",
        first.0, first.1, other.0, other.1
    ))
}

/// The admin client. It exists only while a call uses it: nothing reads the log and the errors of
/// an idle client, so every line of an outage would stay in its memory.
///
/// # Drop behaviour
/// Ends the client on a separate thread, because the client waits for its threads.
struct Admin(Option<AdminClient<DefaultClientContext>>);

impl Admin {
    /// Creates a client, which may take a moment. The client connects at its first use.
    fn new(config: &ClientConfig) -> KafkaResult<Self> {
        AdminClient::from_config(config).map(|client| Self(Some(client)))
    }
}

impl Deref for Admin {
    type Target = AdminClient<DefaultClientContext>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("only a drop takes the client out")
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop_on_thread("buslane-kafka-admin-end", self.0.take());
    }
}

#[cfg(test)]
mod scatter_tests {
    use super::scatter;
    use crate::config::Assignment;
    use buslane_core::Topic;

    #[test]
    fn k3_only_ranges_of_equal_topics_stay_together() {
        let topics = ["a", "b", "c"].map(|name| Topic::new(name).expect("a good name"));
        let of =
            |partitions: &[u32]| topics.iter().zip(partitions.iter().copied()).collect::<Vec<_>>();
        for assignment in
            [Assignment::CooperativeSticky, Assignment::RoundRobin, Assignment::Broker]
        {
            assert_eq!(scatter(assignment, &of(&[])), None);
            assert_eq!(
                scatter(assignment, &of(&[8])),
                None,
                "one topic has one owner of a partition"
            );
            let reason = scatter(assignment, &of(&[8, 8])).expect("scattered");
            assert!(reason.contains("consumer.assignment `range`"), "{reason}");
        }
        assert_eq!(scatter(Assignment::Range, &of(&[8, 8, 8])), None);
        let reason = scatter(Assignment::Range, &of(&[8, 8, 6])).expect("scattered");
        assert!(reason.contains("a (8) and c (6)"), "{reason}");
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

    /// The number of threads that rdkafka runs for admin clients. A thread names itself as it
    /// begins, and the system truncates the name.
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
        assert!(Arc::ptr_eq(&one, &two), "concurrent calls share a client");
        until_threads(1).await;
        drop((one, two));
        until_threads(0).await;
        assert!(topics.admin().await.is_ok(), "the next call creates one");
    }
}
