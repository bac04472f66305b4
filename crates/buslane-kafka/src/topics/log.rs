//! The topic with the logs of another topic's partitions.

use super::{
    Topics,
    settings::{RETENTION, RETENTION_BYTES},
};
use buslane_core::{BrokerError, Topic};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{NewTopic, ResourceSpecifier, TopicReplication},
};

const CLEANUP: &str = "cleanup.policy";
/// What a log needs: nothing is forgotten by itself.
const NEEDED: [(&str, &str, &str); 3] = [
    (RETENTION, "-1", "retention"),
    (RETENTION_BYTES, "-1", "retention_bytes"),
    (CLEANUP, "delete", "cleanup"),
];

impl Topics {
    /// Ensures that each partition of `topic` has a log in the topic `log`.
    pub(crate) async fn ensure_log(&self, topic: &Topic, log: &Topic) -> Result<(), BrokerError> {
        let partitions = self.find_or_create(topic).await?;
        let replicas = self.find(topic).await?.map_or(1, |found| found.replicas);
        let found = {
            let own = self.preparing.get(log);
            let _one = own.lock().await;
            match self.find(log).await? {
                Some(found) => found.partitions,
                None => {
                    let count = i32::try_from(partitions).unwrap_or(i32::MAX);
                    let wanted = self.create_missing.as_ref().and_then(|new| new.replication);
                    let copies = i32::from(wanted.unwrap_or(replicas));
                    let mut new = NewTopic::new(log, count, TopicReplication::Fixed(copies));
                    for (name, value, _) in NEEDED {
                        new = new.set(name, value);
                    }
                    self.create_new(log, new, partitions).await?
                }
            }
        };
        let refused =
            |setting, rule| Err(BrokerError::Setting { topic: log.clone(), setting, rule });
        if found < partitions {
            let rule = format!("has {found}, and {topic} has {partitions}: each needs a log");
            return refused("partitions", rule);
        }
        let admin = self.admin().await?;
        let resources = [ResourceSpecifier::Topic(log)];
        let answer = admin.describe_configs(&resources, &self.options()).await;
        for resource in answer.map_err(|error| self.error(&error))? {
            let resource =
                resource.map_err(|error| BrokerError::Unreachable { reason: error.to_string() })?;
            for (name, needed, setting) in NEEDED {
                let value = resource.get(name).and_then(|entry| entry.value.as_deref());
                if let Some(value) = value.filter(|value| *value != needed) {
                    let rule = format!(
                        "{name} is {value}, and must be {needed}: parked messages must not be forgotten"
                    );
                    return refused(setting, rule);
                }
            }
        }
        self.prepare(log).await.map(drop)
    }

    /// Deletes the records of a partition below an offset.
    pub(crate) async fn forget(
        &self,
        log: &Topic,
        partition: u32,
        below: u64,
    ) -> Result<(), BrokerError> {
        let mut place = TopicPartitionList::with_capacity(1);
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let offset = Offset::Offset(i64::try_from(below).unwrap_or(i64::MAX));
        place.add_partition_offset(log, partition, offset).map_err(|error| self.error(&error))?;
        let admin = self.admin().await?;
        let answer = admin.delete_records(&place, &self.options()).await;
        let answer = answer.map_err(|error| self.error(&error))?;
        let failed = answer.elements().iter().find_map(|element| element.error().err());
        failed.map_or(Ok(()), |error| Err(self.error(&error)))
    }
}
