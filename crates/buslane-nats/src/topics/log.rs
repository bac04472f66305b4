//! The topic with the logs of another topic's partitions.

use super::{FoundStream, Known, Topics};
use async_nats::jetstream::stream::RetentionPolicy;
use buslane_core::{BrokerError, Topic, TopicSettings, TopicStorage};

impl Topics {
    /// Ensures that each partition of `topic` has a log in the topic `log`.
    pub(crate) async fn ensure_log(&self, topic: &Topic, log: &Topic) -> Result<(), BrokerError> {
        let Some(partitions) = self.ensure(topic, TopicStorage::File).await?.partitions else {
            let rule = "park needs partitions, each of which one process reads: see nats.stream.partitions";
            return Err(self.refused(topic, "terminal", rule.to_owned()));
        };
        super::names::check(log)?;
        let own = self.single_flight.get(log);
        let _one = own.lock().await;
        let found = match self.find(log).await? {
            Some(found) => found,
            None => {
                let replication =
                    self.create_missing.as_ref().and_then(|settings| settings.replication);
                let settings = TopicSettings {
                    partitions: Some(partitions),
                    replication,
                    storage: Some(TopicStorage::File),
                    ..TopicSettings::default()
                };
                match self.create(log, &settings).await {
                    Ok(found) => found,
                    // Another member may have been faster.
                    Err(error) => self.find(log).await?.ok_or(error)?,
                }
            }
        };
        self.check_log(topic, partitions, log, &found)?;
        self.remember(log, &Known::stored(log, &found));
        Ok(())
    }

    fn check_log(
        &self,
        topic: &Topic,
        partitions: u32,
        log: &Topic,
        found: &FoundStream,
    ) -> Result<(), BrokerError> {
        let stream = &found.info.config;
        let has = found.partitions.unwrap_or(0);
        if has < partitions {
            let rule = format!("has {has}, and {topic} has {partitions}: each needs a log");
            return Err(self.refused(log, "partitions", rule));
        }
        let limits = [
            ("retention", !stream.max_age.is_zero(), "max_age"),
            ("retention_bytes", stream.max_bytes > 0, "max_bytes"),
            ("retention_messages", stream.max_messages > 0, "max_msgs"),
            ("retention_messages", stream.max_messages_per_subject > 0, "max_msgs_per_subject"),
            ("retention", stream.retention != RetentionPolicy::Limits, "retention"),
        ];
        match limits.iter().find(|(_, is_set, _)| *is_set) {
            None => Ok(()),
            Some((setting, _, name)) => {
                let rule = format!(
                    "stream {} has a limit, {name}: parked messages must not be forgotten",
                    stream.name
                );
                Err(self.refused(log, setting, rule))
            }
        }
    }

    /// Deletes the messages of a subject below a sequence.
    pub(crate) async fn purge(
        &self,
        log: &Topic,
        stream: &str,
        filter: String,
        below: u64,
    ) -> Result<(), BrokerError> {
        #[derive(serde::Serialize)]
        struct Purge {
            filter: String,
            seq: u64,
        }
        let question = Purge { filter, seq: below };
        let subject = format!("STREAM.PURGE.{stream}");
        self.ask::<_, serde::de::IgnoredAny>(log, &subject, &question).await.map(drop)
    }
}
