//! Reads the settings of a topic, and changes them to wanted ones.

use super::{
    POLL_INTERVAL, Topics,
    settings::{
        COMPRESSION, RETENTION, RETENTION_BYTES, check, compression, compression_name, validate,
    },
};
use crate::native::alter_topic;
use buslane_core::{BrokerError, Topic, TopicSettings, TopicStrategy};
use rdkafka::{
    admin::{NewPartitions, ResourceSpecifier},
    types::RDKafkaErrorCode as Code,
};
use std::time::Duration;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

impl Topics {
    /// The present settings of a topic; `None` when the topic does not exist.
    pub(crate) async fn settings(
        &self,
        topic: &Topic,
    ) -> Result<Option<TopicSettings>, BrokerError> {
        let Some(found) = self.find(topic).await? else { return Ok(None) };
        let admin = self.admin().await?;
        let resources = [ResourceSpecifier::Topic(topic)];
        let answer = admin
            .describe_configs(&resources, &self.options())
            .await
            .map_err(|error| self.error(&error))?;
        let mut settings = TopicSettings {
            partitions: Some(found.partitions),
            replication: Some(found.replicas),
            ..TopicSettings::default()
        };
        for resource in answer {
            let resource = match resource {
                Ok(resource) => resource,
                Err(Code::UnknownTopicOrPartition) => return Ok(None),
                Err(error) => return Err(BrokerError::Unreachable { reason: error.to_string() }),
            };
            let value = |name| {
                resource.get(name).and_then(|entry| entry.value.as_deref()?.parse::<u64>().ok())
            };
            settings.retention = value(RETENTION).map(Duration::from_millis);
            settings.retention_bytes = value(RETENTION_BYTES);
            settings.compression =
                resource.get(COMPRESSION).and_then(|entry| compression(entry.value.as_deref()?));
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
        // Keeps the admin client alive, so that all calls below share it.
        let _admin = self.admin().await?;
        let present = match (self.settings(topic).await?, strategy) {
            (present, TopicStrategy::Skip) => return Ok(present.unwrap_or_default()),
            (None, TopicStrategy::ValidateOnly) => {
                return Err(BrokerError::UnknownTopic { topic: topic.clone() });
            }
            (None, _) => {
                self.create(topic, wanted).await?;
                return self
                    .settings(topic)
                    .await?
                    .ok_or_else(|| BrokerError::UnknownTopic { topic: topic.clone() });
            }
            (Some(present), TopicStrategy::CreateOnly) => return Ok(present),
            (Some(present), _) => present,
        };
        if strategy == TopicStrategy::ValidateOnly {
            return validate(topic, wanted, &present).map(|()| present);
        }
        self.update(topic, wanted, &present).await?;
        self.settings(topic)
            .await?
            .ok_or_else(|| BrokerError::UnknownTopic { topic: topic.clone() })
    }

    async fn update(
        &self,
        topic: &Topic,
        wanted: &TopicSettings,
        present: &TopicSettings,
    ) -> Result<(), BrokerError> {
        let refuse = |setting, rule: String| {
            Err(BrokerError::Setting { topic: topic.clone(), setting, rule })
        };
        if let Some(replication) = wanted.replication
            && Some(replication) != present.replication
        {
            let replication = present.replication.unwrap_or(0);
            return refuse(
                "replication",
                format!(
                    "is {replication}; Kafka changes it by moving partitions, not by a setting"
                ),
            );
        }
        let (before, after) = (present.partitions.unwrap_or(0), wanted.partitions.unwrap_or(0));
        if wanted.partitions.is_some() && after < before {
            return refuse(
                "partitions",
                format!("cannot be reduced from {before} to {after}: a topic never shrinks"),
            );
        }
        if after > before && !wanted.expand {
            return refuse(
                "partitions",
                format!("are {before}, wanted {after}; keys would move, so this needs `expand`"),
            );
        }
        let mut changes = Vec::new();
        if let Some(retention) = wanted.retention.filter(|_| wanted.retention != present.retention)
        {
            changes.push((RETENTION, retention.as_millis().to_string()));
        }
        if let Some(bytes) =
            wanted.retention_bytes.filter(|_| wanted.retention_bytes != present.retention_bytes)
        {
            changes.push((RETENTION_BYTES, bytes.to_string()));
        }
        if let Some(compression) =
            wanted.compression.filter(|_| wanted.compression != present.compression)
        {
            changes.push((COMPRESSION, compression_name(compression).to_owned()));
        }
        if !changes.is_empty() {
            let admin = self.admin().await?;
            let (name, timeout) = (topic.clone(), self.timeout);
            let answer =
                spawn_blocking(move || alter_topic(admin.inner(), &name, &changes, timeout)).await;
            if let Err(reason) = answer.unwrap_or_else(|error| Err(error.to_string())) {
                return refuse("settings", reason);
            }
        }
        if after > before {
            let admin = self.admin().await?;
            let partitions = NewPartitions::new(topic, after as usize);
            let answers = admin
                .create_partitions(&[partitions], &self.options())
                .await
                .map_err(|error| self.error(&error))?;
            if let Some(Err((_, error))) = answers.into_iter().next() {
                return refuse("partitions", error.to_string());
            }
            self.until_known(topic, after).await?;
        }
        if wanted.retention.is_some()
            || wanted.retention_bytes.is_some()
            || wanted.compression.is_some()
        {
            self.until_set(topic, wanted).await?;
        }
        Ok(())
    }

    /// Waits until the brokers return the settings that they have accepted.
    async fn until_set(&self, topic: &Topic, wanted: &TopicSettings) -> Result<(), BrokerError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let present = self.settings(topic).await?.unwrap_or_default();
            let is_set = (wanted.retention.is_none() || wanted.retention == present.retention)
                && (wanted.retention_bytes.is_none()
                    || wanted.retention_bytes == present.retention_bytes)
                && (wanted.compression.is_none() || wanted.compression == present.compression);
            if is_set {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("the change of topic {topic}");
                return Err(BrokerError::Timeout { what, deadline: self.timeout });
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}
