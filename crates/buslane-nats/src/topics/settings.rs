//! The settings of a topic: the present ones, the wanted ones, and the update of a stream.

use super::{FoundStream, Topics};
use crate::names;
use async_nats::jetstream::stream::{Config, Info, StorageType};
use buslane_core::{BrokerError, Topic, TopicSettings, TopicStorage, TopicStrategy};

impl Topics {
    /// The present settings of a topic; `None` when no stream covers the topic.
    pub(crate) async fn settings(
        &self,
        topic: &Topic,
    ) -> Result<Option<TopicSettings>, BrokerError> {
        if self.is_ephemeral(topic) {
            return Ok(Some(ephemeral()));
        }
        names::check(topic)?;
        Ok(self.find(topic).await?.map(|found| present_settings(&found)))
    }

    pub(crate) async fn configure(
        &self,
        topic: &Topic,
        wanted: &TopicSettings,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BrokerError> {
        self.check(topic, wanted)?;
        let own = self.single_flight.get(topic);
        let _one = own.lock().await;
        let found = self.find(topic).await?;
        if strategy == TopicStrategy::Skip {
            return Ok(found.map(|found| present_settings(&found)).unwrap_or_default());
        }
        if wanted.partitions.is_some() {
            self.configured.write().insert(topic.clone());
        }
        if wanted.storage == Some(TopicStorage::Nowhere) {
            return self.store_nothing(topic, found.is_some(), strategy);
        }
        let found = match (found, strategy) {
            (None, TopicStrategy::ValidateOnly) => {
                return Err(BrokerError::UnknownTopic { topic: topic.clone() });
            }
            (None, _) => {
                self.ephemeral.write().remove(topic);
                self.forget(topic);
                let kind = wanted.storage.unwrap_or(TopicStorage::File);
                let partitions = wanted.partitions.or_else(|| self.partitions_of_new(kind));
                let wanted = TopicSettings { partitions, ..wanted.clone() };
                return Ok(present_settings(&self.create(topic, &wanted).await?));
            }
            (Some(found), TopicStrategy::CreateOnly) => return Ok(present_settings(&found)),
            (Some(found), _) => found,
        };
        let present = present_settings(&found);
        if strategy == TopicStrategy::ValidateOnly {
            return self.validate(topic, wanted, &present).map(|()| present);
        }
        let config = self.updated(topic, wanted, &present, found)?;
        self.forget(topic);
        let partitions = names::partitions(topic, &config.subjects).flatten();
        let info: Option<Info> =
            self.ask(topic, &format!("STREAM.UPDATE.{}", config.name), &config).await?;
        let info = info.ok_or_else(|| BrokerError::UnknownTopic { topic: topic.clone() })?;
        Ok(present_settings(&FoundStream { info, partitions }))
    }

    /// Makes the topic ephemeral for this publisher and its readers.
    fn store_nothing(
        &self,
        topic: &Topic,
        has_stream: bool,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BrokerError> {
        if has_stream {
            return Err(self.refused(
                topic,
                "storage",
                "a stream covers the topic, so it is stored".to_owned(),
            ));
        }
        if strategy == TopicStrategy::ValidateOnly && !self.is_ephemeral(topic) {
            return Err(BrokerError::UnknownTopic { topic: topic.clone() });
        }
        self.ephemeral.write().insert(topic.clone());
        self.forget(topic);
        Ok(ephemeral())
    }

    fn updated(
        &self,
        topic: &Topic,
        wanted: &TopicSettings,
        present: &TopicSettings,
        found: FoundStream,
    ) -> Result<Config, BrokerError> {
        let refuse = |setting, rule: String| Err(self.refused(topic, setting, rule));
        let mut config = found.info.config;
        match (present.partitions, wanted.partitions) {
            (None, Some(count)) => {
                let plain = names::subject(topic, None);
                if !wanted.expand {
                    return refuse(
                        "partitions",
                        format!(
                            "are none, wanted {count}; keys would move, so this needs `expand`"
                        ),
                    );
                }
                if !config.subjects.contains(&plain) {
                    let rule = "are none, and a wildcard among the stream's subjects covers the topic: give it a stream \
                                of its own first";
                    return refuse("partitions", rule.to_owned());
                }
                // From the update on, every new message has a partition, so a reader can reach the
                // end of the older ones.
                config.subjects.retain(|subject| *subject != plain);
                config.subjects.extend(names::subjects(topic, Some(count)));
            }
            (Some(count), Some(more)) if more < count => {
                return refuse(
                    "partitions",
                    format!("cannot be reduced from {count} to {more}: a topic never shrinks"),
                );
            }
            (Some(count), Some(more)) if more > count => {
                if !wanted.expand {
                    return refuse(
                        "partitions",
                        format!(
                            "are {count}, wanted {more}; keys would move, so this needs `expand`"
                        ),
                    );
                }
                config.subjects.extend(
                    (count..more).flat_map(|partition| names::filters(topic, Some(partition))),
                );
            }
            _ => {}
        }
        if let Some(storage) = wanted.storage
            && Some(storage) != present.storage
        {
            return refuse(
                "storage",
                "cannot change: the server moves no stream between file and memory".to_owned(),
            );
        }
        if let Some(replication) = wanted.replication {
            config.num_replicas = replication.into();
        }
        if let Some(retention) = wanted.retention {
            config.max_age = retention;
            config.duplicate_window = config.duplicate_window.min(retention);
        }
        if let Some(bytes) = wanted.retention_bytes {
            config.max_bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        }
        Ok(config)
    }

    /// Refuses settings that differ. The error names all of them.
    fn validate(
        &self,
        topic: &Topic,
        wanted: &TopicSettings,
        present: &TopicSettings,
    ) -> Result<(), BrokerError> {
        let mut rules: Vec<(&'static str, String)> = Vec::new();
        differs(&mut rules, "partitions", wanted.partitions, present.partitions);
        differs(&mut rules, "replication", wanted.replication, present.replication);
        differs(&mut rules, "retention", wanted.retention, present.retention);
        differs(&mut rules, "retention_bytes", wanted.retention_bytes, present.retention_bytes);
        differs(&mut rules, "storage", wanted.storage, present.storage);
        let Some((setting, _)) = rules.first() else { return Ok(()) };
        let text: Vec<&str> = rules.iter().map(|(_, rule)| rule.as_str()).collect();
        Err(self.refused(topic, setting, text.join("; ")))
    }
}

fn differs<T: PartialEq + std::fmt::Debug>(
    rules: &mut Vec<(&'static str, String)>,
    setting: &'static str,
    wanted: Option<T>,
    present: Option<T>,
) {
    if wanted.is_some() && wanted != present {
        rules.push((setting, format!("{setting} is {present:?}, wanted {wanted:?}")));
    }
}

/// The settings of an ephemeral topic.
fn ephemeral() -> TopicSettings {
    TopicSettings { storage: Some(TopicStorage::Nowhere), ..TopicSettings::default() }
}

/// The settings of a stream.
fn present_settings(found: &FoundStream) -> TopicSettings {
    let config = &found.info.config;
    TopicSettings {
        partitions: found.partitions,
        replication: u16::try_from(config.num_replicas).ok(),
        retention: Some(config.max_age).filter(|age| !age.is_zero()),
        retention_bytes: u64::try_from(config.max_bytes).ok().filter(|bytes| *bytes > 0),
        storage: Some(match config.storage {
            StorageType::File => TopicStorage::File,
            StorageType::Memory => TopicStorage::Memory,
        }),
        ..TopicSettings::default()
    }
}
