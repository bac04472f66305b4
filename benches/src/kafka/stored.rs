//! What lies in a topic, looked at from outside: by a client that is no member of a group.

use super::Bare;
use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

impl Bare {
    pub(super) fn stored_in(&self, topic: &str, partitions: u32) -> Vec<Bytes> {
        let mut config = self.client();
        config.set("group.id", "looks-only").set("enable.partition.eof", "true");
        let client: BaseConsumer = config.create().expect("a client");
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions.cast_signed() {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        client.assign(&all).expect("an assignment");
        let (mut bodies, mut ends) = (Vec::new(), 0);
        while ends < partitions {
            match client.poll(PATIENCE).expect("messages, or the end of a partition") {
                Ok(message) => {
                    bodies.push(Bytes::copy_from_slice(message.payload().unwrap_or_default()))
                }
                Err(KafkaError::PartitionEOF(_)) => ends += 1,
                Err(error) => panic!("{error}"),
            }
        }
        bodies
    }
}
