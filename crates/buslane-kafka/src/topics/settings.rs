//! The settings of a topic: what stands, what is wanted, and how one becomes the other.

use super::{COMPRESSION, RETENTION, RETENTION_BYTES, SPREAD_PAUSE, Topics};
use crate::native;
use buslane_core::{BrokerError, Topic, TopicCompression, TopicSettings, TopicStrategy};
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
    /// What stands for the topic, or `None` when there is no such topic.
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
        // One client for all that is done here.
        let _admin = self.admin().await?;
        let stands = self.settings(topic).await?;
        let stands = match (stands, strategy) {
            (stands, TopicStrategy::Skip) => return Ok(stands.unwrap_or_default()),
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
            (Some(stands), TopicStrategy::CreateOnly) => return Ok(stands),
            (Some(stands), _) => stands,
        };
        if strategy == TopicStrategy::ValidateOnly {
            return validate(topic, wanted, &stands).map(|()| stands);
        }
        self.update(topic, wanted, &stands).await?;
        self.settings(topic)
            .await?
            .ok_or_else(|| BrokerError::UnknownTopic { topic: topic.clone() })
    }

    async fn update(
        &self,
        topic: &Topic,
        wanted: &TopicSettings,
        stands: &TopicSettings,
    ) -> Result<(), BrokerError> {
        let refuse = |setting, rule: String| {
            Err(BrokerError::Setting { topic: topic.clone(), setting, rule })
        };
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
            return refuse(
                "partitions",
                format!("a topic never shrinks: {present} stand, {more} are wanted"),
            );
        }
        if more > present && !wanted.expand {
            return refuse(
                "partitions",
                format!("{present} stand, {more} are wanted; keys move, so say `expand` too"),
            );
        }
        let mut changes = Vec::new();
        if let Some(retention) = wanted.retention.filter(|_| wanted.retention != stands.retention) {
            changes.push((RETENTION, retention.as_millis().to_string()));
        }
        if let Some(bytes) =
            wanted.retention_bytes.filter(|_| wanted.retention_bytes != stands.retention_bytes)
        {
            changes.push((RETENTION_BYTES, bytes.to_string()));
        }
        if let Some(compression) =
            wanted.compression.filter(|_| wanted.compression != stands.compression)
        {
            changes.push((COMPRESSION, compression_name(compression).to_owned()));
        }
        if !changes.is_empty() {
            let admin = self.admin().await?;
            let (name, patience) = (topic.clone(), self.patience);
            let answer = spawn_blocking(move || {
                native::alter_topic(admin.inner(), &name, &changes, patience)
            })
            .await;
            if let Err(reason) = answer.unwrap_or_else(|error| Err(error.to_string())) {
                return refuse("settings", reason);
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
        if wanted.retention.is_some()
            || wanted.retention_bytes.is_some()
            || wanted.compression.is_some()
        {
            self.until_set(topic, wanted).await?;
        }
        Ok(())
    }

    /// Waits until the brokers answer with the settings that they have taken.
    async fn until_set(&self, topic: &Topic, wanted: &TopicSettings) -> Result<(), BrokerError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let stands = self.settings(topic).await?.unwrap_or_default();
            let is_set = (wanted.retention.is_none() || wanted.retention == stands.retention)
                && (wanted.retention_bytes.is_none()
                    || wanted.retention_bytes == stands.retention_bytes)
                && (wanted.compression.is_none() || wanted.compression == stands.compression);
            if is_set {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("the change of topic {topic}");
                return Err(BrokerError::Timeout { what, deadline: self.patience });
            }
            sleep(SPREAD_PAUSE).await;
        }
    }
}

const COMPRESSIONS: [(TopicCompression, &str); 6] = [
    (TopicCompression::Producer, "producer"),
    (TopicCompression::None, "uncompressed"),
    (TopicCompression::Gzip, "gzip"),
    (TopicCompression::Snappy, "snappy"),
    (TopicCompression::Lz4, "lz4"),
    (TopicCompression::Zstd, "zstd"),
];

/// As Kafka spells it.
pub(super) fn compression_name(compression: TopicCompression) -> &'static str {
    COMPRESSIONS
        .iter()
        .find(|(known, _)| *known == compression)
        .map_or("producer", |(_, name)| name)
}

fn compression(name: &str) -> Option<TopicCompression> {
    COMPRESSIONS.iter().find(|(_, known)| *known == name).map(|(compression, _)| *compression)
}

pub(super) fn check(topic: &Topic, settings: &TopicSettings) -> Result<(), BrokerError> {
    let zero = [
        ("partitions", settings.partitions == Some(0)),
        ("replication", settings.replication == Some(0)),
    ];
    for (setting, is_zero) in zero {
        if is_zero {
            let rule = "must be at least 1, found 0".to_owned();
            return Err(BrokerError::Setting { topic: topic.clone(), setting, rule });
        }
    }
    if settings.storage.is_some() {
        let rule = "brokers keep every topic in files, so it must be left out".to_owned();
        return Err(BrokerError::Setting { topic: topic.clone(), setting: "storage", rule });
    }
    Ok(())
}

fn validate(
    topic: &Topic,
    wanted: &TopicSettings,
    stands: &TopicSettings,
) -> Result<(), BrokerError> {
    let mut differences = Vec::new();
    let mut first = None;
    let mut compare = |setting: &'static str, wanted: Option<String>, stands: Option<String>| {
        if let Some(wanted) = wanted
            && Some(&wanted) != stands.as_ref()
        {
            first.get_or_insert(setting);
            differences.push(format!(
                "{setting} is {}, wanted {wanted}",
                stands.unwrap_or_else(|| "not set".to_owned())
            ));
        }
    };
    let text = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
    compare(
        "partitions",
        wanted.partitions.map(|n| n.to_string()),
        stands.partitions.map(|n| n.to_string()),
    );
    compare(
        "replication",
        wanted.replication.map(|n| n.to_string()),
        stands.replication.map(|n| n.to_string()),
    );
    compare("retention", text(wanted.retention), text(stands.retention));
    compare(
        "retention_bytes",
        wanted.retention_bytes.map(|n| n.to_string()),
        stands.retention_bytes.map(|n| n.to_string()),
    );
    let name = |compression: Option<_>| {
        compression.map(|compression| compression_name(compression).to_owned())
    };
    compare("compression", name(wanted.compression), name(stands.compression));
    match first {
        None => Ok(()),
        Some(setting) => Err(BrokerError::Setting {
            topic: topic.clone(),
            setting,
            rule: differences.join("; "),
        }),
    }
}
