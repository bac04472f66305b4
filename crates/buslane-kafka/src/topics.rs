//! Topics and their settings.
//!
//! Blocking calls of the client run on tokio's threads for blocking work.

use crate::{native, producer::Producer};
use buslane_core::{BrokerError, Topic, TopicSettings, TopicStrategy};
use parking_lot::Mutex;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaErrorCode as Code,
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::OnceCell,
    task::spawn_blocking,
    time::{Instant, sleep},
};

const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
/// How long a new topic may take until every broker knows it.
const SPREAD_PATIENCE: Duration = Duration::from_secs(10);
const SPREAD_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Topics {
    config: rdkafka::ClientConfig,
    patience: Duration,
    create_missing: Option<TopicSettings>,
    admin: OnceCell<Arc<AdminClient<DefaultClientContext>>>,
    producer: Arc<Producer>,
    /// Known to exist.
    known: Mutex<HashSet<Topic>>,
    /// One look-up or creation at a time: the second finds what the first made.
    creating: tokio::sync::Mutex<()>,
}

impl Topics {
    pub(crate) fn new(
        config: rdkafka::ClientConfig,
        patience: Duration,
        create_missing: Option<TopicSettings>,
        producer: Arc<Producer>,
    ) -> Self {
        Self {
            config,
            patience,
            create_missing,
            admin: OnceCell::new(),
            producer,
            known: Mutex::default(),
            creating: tokio::sync::Mutex::default(),
        }
    }

    /// Whether nothing has to be asked before this topic is used.
    pub(crate) fn is_known(&self, topic: &Topic) -> bool {
        self.known.lock().contains(topic)
    }

    /// Makes sure that the topic exists, and creates it where that is wanted.
    pub(crate) async fn ensure(&self, topic: &Topic) -> Result<(), BrokerError> {
        if self.is_known(topic) {
            return Ok(());
        }
        let _one = self.creating.lock().await;
        if !self.is_known(topic) && self.partitions(topic).await?.is_none() {
            let Some(settings) = &self.create_missing else {
                return Err(BrokerError::UnknownTopic { topic: topic.clone() });
            };
            self.create(topic, settings).await?;
        }
        self.known.lock().insert(topic.clone());
        Ok(())
    }

    /// What stands for the topic, or `None` when there is no such topic.
    pub(crate) async fn settings(&self, topic: &Topic) -> Result<Option<TopicSettings>, BrokerError> {
        let Some((partitions, replication)) = self.partitions(topic).await? else { return Ok(None) };
        let admin = self.admin().await?;
        let resources = [ResourceSpecifier::Topic(topic)];
        let answer = admin.describe_configs(&resources, &self.options()).await.map_err(|error| self.error(&error))?;
        let mut settings =
            TopicSettings { partitions: Some(partitions), replication: Some(replication), ..TopicSettings::default() };
        for resource in answer {
            let resource = match resource {
                Ok(resource) => resource,
                Err(Code::UnknownTopicOrPartition) => return Ok(None),
                Err(error) => return Err(BrokerError::Unreachable { reason: error.to_string() }),
            };
            let value = |name| resource.get(name).and_then(|entry| entry.value.as_deref()?.parse::<u64>().ok());
            settings.retention = value(RETENTION).map(Duration::from_millis);
            settings.retention_bytes = value(RETENTION_BYTES);
        }
        Ok(Some(settings))
    }

    pub(crate) async fn configure(
        &self,
        topic: &Topic,
        wanted: &TopicSettings,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BrokerError> {
        check(topic, wanted)?;
        let stands = self.settings(topic).await?;
        let stands = match (stands, strategy) {
            (stands, TopicStrategy::Skip) => return Ok(stands.unwrap_or_default()),
            (None, TopicStrategy::ValidateOnly) => return Err(BrokerError::UnknownTopic { topic: topic.clone() }),
            (None, _) => {
                self.create(topic, wanted).await?;
                return self.settings(topic).await?.ok_or_else(|| BrokerError::UnknownTopic { topic: topic.clone() });
            }
            (Some(stands), TopicStrategy::CreateOnly) => return Ok(stands),
            (Some(stands), _) => stands,
        };
        if strategy == TopicStrategy::ValidateOnly {
            return validate(topic, wanted, &stands).map(|()| stands);
        }
        self.update(topic, wanted, &stands).await?;
        self.settings(topic).await?.ok_or_else(|| BrokerError::UnknownTopic { topic: topic.clone() })
    }

    async fn update(&self, topic: &Topic, wanted: &TopicSettings, stands: &TopicSettings) -> Result<(), BrokerError> {
        let refuse = |setting, rule: String| Err(BrokerError::Setting { topic: topic.clone(), setting, rule });
        if let Some(replication) = wanted.replication
            && Some(replication) != stands.replication
        {
            let present = stands.replication.unwrap_or(0);
            return refuse(
                "replication",
                format!("is {present}; Kafka changes it by moving partitions, not by a setting"),
            );
        }
        let (present, more) = (stands.partitions.unwrap_or(0), wanted.partitions.unwrap_or(0));
        if wanted.partitions.is_some() && more < present {
            return refuse("partitions", format!("a topic never shrinks: {present} stand, {more} are wanted"));
        }
        if more > present && !wanted.expand {
            return refuse("partitions", format!("{present} stand, {more} are wanted; keys move, so say `expand` too"));
        }
        let mut changes = Vec::new();
        if let Some(retention) = wanted.retention.filter(|_| wanted.retention != stands.retention) {
            changes.push((RETENTION, retention.as_millis().to_string()));
        }
        if let Some(bytes) = wanted.retention_bytes.filter(|_| wanted.retention_bytes != stands.retention_bytes) {
            changes.push((RETENTION_BYTES, bytes.to_string()));
        }
        if !changes.is_empty() {
            let admin = self.admin().await?;
            let (name, patience) = (topic.clone(), self.patience);
            let answer = spawn_blocking(move || native::alter_topic(admin.inner(), &name, &changes, patience)).await;
            if let Err(reason) = answer.unwrap_or_else(|error| Err(error.to_string())) {
                return refuse("retention", reason);
            }
        }
        if more > present {
            let admin = self.admin().await?;
            let more_partitions = NewPartitions::new(topic, more as usize);
            let answers = admin
                .create_partitions(&[more_partitions], &self.options())
                .await
                .map_err(|error| self.error(&error))?;
            if let Some(Err((_, error))) = answers.into_iter().next() {
                return refuse("partitions", error.to_string());
            }
            self.until_spread(topic, more).await?;
        }
        if wanted.retention.is_some() || wanted.retention_bytes.is_some() {
            self.until_set(topic, wanted).await?;
        }
        Ok(())
    }

    async fn create(&self, topic: &Topic, settings: &TopicSettings) -> Result<(), BrokerError> {
        check(topic, settings)?;
        let admin = self.admin().await?;
        let partitions = settings.partitions.map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX));
        let replication = settings.replication.map_or(-1, i32::from);
        let (retention, bytes) = (
            settings.retention.map(|time| time.as_millis().to_string()),
            settings.retention_bytes.map(|bytes| bytes.to_string()),
        );
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        for (name, value) in [(RETENTION, &retention), (RETENTION_BYTES, &bytes)] {
            if let Some(value) = value {
                new = new.set(name, value);
            }
        }
        let answers = admin.create_topics(&[new], &self.options()).await.map_err(|error| self.error(&error))?;
        match answers.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => {}
            Some(Err((_, error))) => {
                let setting = match error {
                    RDKafkaErrorCode::InvalidPartitions => "partitions",
                    RDKafkaErrorCode::InvalidReplicationFactor => "replication",
                    RDKafkaErrorCode::InvalidConfig => "retention",
                    _ => "topic",
                };
                return Err(BrokerError::Setting { topic: topic.clone(), setting, rule: error.to_string() });
            }
        }
        self.until_spread(topic, settings.partitions.unwrap_or(1)).await?;
        self.known.lock().insert(topic.clone());
        Ok(())
    }

    /// Waits until the brokers answer with at least so many partitions that have a leader.
    async fn until_spread(&self, topic: &Topic, partitions: u32) -> Result<(), BrokerError> {
        let deadline = Instant::now() + SPREAD_PATIENCE;
        while self.partitions(topic).await?.is_none_or(|(count, _)| count < partitions) {
            if Instant::now() >= deadline {
                let what = format!("the creation of {partitions} partitions of topic {topic}");
                return Err(BrokerError::Timeout { what, deadline: SPREAD_PATIENCE });
            }
            sleep(SPREAD_PAUSE).await;
        }
        Ok(())
    }

    /// Waits until the brokers answer with the settings that they have taken.
    async fn until_set(&self, topic: &Topic, wanted: &TopicSettings) -> Result<(), BrokerError> {
        let deadline = Instant::now() + SPREAD_PATIENCE;
        loop {
            let stands = self.settings(topic).await?.unwrap_or_default();
            let is_set = (wanted.retention.is_none() || wanted.retention == stands.retention)
                && (wanted.retention_bytes.is_none() || wanted.retention_bytes == stands.retention_bytes);
            if is_set {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("the change of topic {topic}");
                return Err(BrokerError::Timeout { what, deadline: SPREAD_PATIENCE });
            }
            sleep(SPREAD_PAUSE).await;
        }
    }

    /// Partitions and replicas of a topic, or `None` when there is no such topic.
    async fn partitions(&self, topic: &Topic) -> Result<Option<(u32, u16)>, BrokerError> {
        let (producer, topic, patience) = (Arc::clone(&self.producer), topic.clone(), self.patience);
        let answer = spawn_blocking(move || {
            let metadata = producer.client().fetch_metadata(Some(&topic), patience);
            metadata.map_err(|error| producer.explain(&error)).map(|metadata| {
                let known = metadata.topics().iter().find(|known| known.name() == topic.as_str())?;
                let partitions = known.partitions();
                let replicas = partitions.first()?.replicas().len();
                let is_ready = known.error().is_none() && partitions.iter().all(|partition| partition.leader() >= 0);
                let count = u32::try_from(partitions.len()).ok()?;
                is_ready.then_some((count, u16::try_from(replicas).unwrap_or(u16::MAX)))
            })
        });
        match answer.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(reason)) => Err(BrokerError::Unreachable { reason }),
            Err(error) => Err(BrokerError::Unreachable { reason: error.to_string() }),
        }
    }

    async fn admin(&self) -> Result<Arc<AdminClient<DefaultClientContext>>, BrokerError> {
        let make = || async {
            let config = self.config.clone();
            let made = spawn_blocking(move || AdminClient::from_config(&config)).await;
            match made {
                Ok(Ok(admin)) => Ok(Arc::new(admin)),
                Ok(Err(error)) => Err(self.error(&error)),
                Err(error) => Err(BrokerError::Unreachable { reason: error.to_string() }),
            }
        };
        self.admin.get_or_try_init(make).await.cloned()
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.patience)).operation_timeout(Some(self.patience))
    }

    fn error(&self, error: &KafkaError) -> BrokerError {
        BrokerError::Unreachable { reason: self.producer.explain(error) }
    }
}

fn check(topic: &Topic, settings: &TopicSettings) -> Result<(), BrokerError> {
    let zero = [("partitions", settings.partitions == Some(0)), ("replication", settings.replication == Some(0))];
    for (setting, is_zero) in zero {
        if is_zero {
            let rule = "must be at least 1, found 0".to_owned();
            return Err(BrokerError::Setting { topic: topic.clone(), setting, rule });
        }
    }
    Ok(())
}

fn validate(topic: &Topic, wanted: &TopicSettings, stands: &TopicSettings) -> Result<(), BrokerError> {
    let mut differences = Vec::new();
    let mut first = None;
    let mut compare = |setting: &'static str, wanted: Option<String>, stands: Option<String>| {
        if let Some(wanted) = wanted
            && Some(&wanted) != stands.as_ref()
        {
            first.get_or_insert(setting);
            differences
                .push(format!("{setting} is {}, wanted {wanted}", stands.unwrap_or_else(|| "not set".to_owned())));
        }
    };
    let text = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
    compare("partitions", wanted.partitions.map(|n| n.to_string()), stands.partitions.map(|n| n.to_string()));
    compare("replication", wanted.replication.map(|n| n.to_string()), stands.replication.map(|n| n.to_string()));
    compare("retention", text(wanted.retention), text(stands.retention));
    compare(
        "retention_bytes",
        wanted.retention_bytes.map(|n| n.to_string()),
        stands.retention_bytes.map(|n| n.to_string()),
    );
    match first {
        None => Ok(()),
        Some(setting) => Err(BrokerError::Setting { topic: topic.clone(), setting, rule: differences.join("; ") }),
    }
}
