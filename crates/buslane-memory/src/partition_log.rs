//! Logs beside the partitions of a topic: a partition of another topic, without groups.

use crate::{cluster::Cluster, log::now_ms, partition::Partition, topic::TopicState};
use buslane_core::{
    BoxFuture, BrokerError, Message, PublishError, Record, Source, Topic,
    broker::{LogReader, PartitionLog},
};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

/// The log of one partition.
pub(crate) struct MemoryLog {
    cluster: Arc<Cluster>,
    topic: Arc<TopicState>,
    partition: Arc<Partition>,
}

impl MemoryLog {
    /// Checks that each partition of `topic` can have a log in `log`, which is created if it is
    /// missing.
    pub(crate) fn ensure(cluster: &Cluster, topic: &Topic, log: &Topic) -> Result<(), BrokerError> {
        let partitions = cluster.topic(topic)?.partitions().len();
        let state = cluster.find_log(log, partitions)?;
        let settings = state.settings();
        let refused = |setting, rule| BrokerError::Setting { topic: log.clone(), setting, rule };
        let has = state.partitions().len();
        if has < partitions {
            let rule = format!("has {has}, and {topic} has {partitions}: each needs a log");
            return Err(refused("partitions", rule));
        }
        if let Some(limit) = settings.retention {
            let rule = format!("is {limit:?}: parked messages must not be forgotten");
            return Err(refused("retention", rule));
        }
        if state.keeps_newest_bytes() {
            let rule = "is set: parked messages must not be forgotten".to_owned();
            return Err(refused("retention_bytes", rule));
        }
        Ok(())
    }

    pub(crate) fn open(cluster: &Arc<Cluster>, log: &Topic, partition: u32) -> Option<Self> {
        let topic = cluster.find(log)?;
        let partition = Arc::clone(topic.partitions().get(usize::try_from(partition).ok()?)?);
        Some(Self { cluster: Arc::clone(cluster), topic, partition })
    }

    fn unreachable(&self) -> Option<String> {
        let connection = &self.cluster.connection;
        (!connection.is_up()).then(|| connection.reason())
    }
}

impl PartitionLog for MemoryLog {
    fn append(&self, record: Record) -> BoxFuture<'_, Result<u64, PublishError>> {
        let topic = || self.topic.name.clone();
        let answer = if let Some(reason) = self.unreachable() {
            Err(PublishError::Unreachable { reason })
        } else if let Some(reason) = self.topic.refusal() {
            Err(PublishError::Refused { topic: topic(), reason })
        } else {
            self.partition.append_one(record, now_ms()).ok_or_else(|| PublishError::Unavailable {
                topic: topic(),
                reason: self.partition.describe_full(),
            })
        };
        Box::pin(std::future::ready(answer))
    }

    fn read(&self, from: u64) -> Box<dyn LogReader> {
        Box::new(MemoryLogReader {
            cluster: Arc::clone(&self.cluster),
            source: Arc::new(Source::new(self.topic.name.clone(), self.partition.index)),
            partition: Arc::clone(&self.partition),
            next: from,
        })
    }

    fn forget(&self, below: u64) -> BoxFuture<'_, Result<(), BrokerError>> {
        let answer = match self.unreachable() {
            Some(reason) => Err(BrokerError::Unreachable { reason }),
            None => {
                self.partition.drop_below(below);
                Ok(())
            }
        };
        Box::pin(std::future::ready(answer))
    }
}

struct MemoryLogReader {
    cluster: Arc<Cluster>,
    source: Arc<Source>,
    partition: Arc<Partition>,
    next: u64,
}

impl MemoryLogReader {
    fn poll(&mut self, max: usize, out: &mut Vec<Message>, waker: &Waker) -> Poll<()> {
        let source = &self.source;
        let next = self.partition.read_from(self.next, max, waker, |offset, stored| {
            out.push(stored.message(source, offset));
        });
        match next {
            Some(next) => {
                self.next = next;
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    }
}

impl LogReader for MemoryLogReader {
    fn next<'a>(
        &'a mut self,
        max: usize,
        out: &'a mut Vec<Message>,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            let connection = &self.cluster.connection;
            if !connection.is_up() {
                return Err(BrokerError::Unreachable { reason: connection.reason() });
            }
            poll_fn(|cx| self.poll(max, out, cx.waker())).await;
            Ok(())
        })
    }
}
