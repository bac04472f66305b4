//! Publishing is immediate while the partitions have capacity. Otherwise, a call waits in the
//! partitions' queues up to the publish timeout.

use crate::{
    batch::{Part, PublishBatch},
    log::now_ms,
    member::MemoryMember,
    partition::Partition,
    topic::TopicState,
};
use buslane_core::{Answer, PublishError, Receipt, Record, Topic};
use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, sleep_until};

type Answers = Vec<Result<Receipt, PublishError>>;

/// A part that waits for capacity in its partition.
struct WaitingPart {
    partition: Arc<Partition>,
    part: Part,
    /// The part's place in the queue of the partition's publishers.
    ticket: Option<u64>,
}

impl Drop for WaitingPart {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.partition.leave_queue(&mut self.ticket);
        }
    }
}

/// The same error for every record.
fn all(count: usize, error: &PublishError) -> Answers {
    vec![Err(error.clone()); count]
}

/// Stores the records that fit. Returns the parts with remaining records.
fn store(batch: &mut PublishBatch, topic: &TopicState) -> Vec<WaitingPart> {
    let partitions = topic.partitions();
    let turn = topic.take_turns(batch.keyless());
    let mut waiting = Vec::new();
    batch.split(partitions.len(), turn, |batch, index, mut part| {
        let (partition, mut ticket) = (&partitions[index], None);
        if !partition.append(batch, &mut part, &mut ticket, None) {
            waiting.push(WaitingPart { partition: Arc::clone(partition), part, ticket });
        }
    });
    waiting
}

/// Stores the remaining records, each partition at its own pace.
fn poll_store(
    batch: &mut PublishBatch,
    waiting: &mut Vec<WaitingPart>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    waiting.retain_mut(|WaitingPart { partition, part, ticket }| {
        !partition.append(batch, part, ticket, Some(cx.waker()))
    });
    if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
}

impl MemoryMember {
    pub(crate) fn publish_batch<'a>(
        &'a self,
        topic: &'a Topic,
        records: Vec<Record>,
    ) -> Answer<'a, Answers> {
        if records.is_empty() {
            return Answer::Now(Vec::new());
        }
        if self.is_closing() {
            return Answer::Now(all(records.len(), &PublishError::Closed));
        }
        if !self.cluster.connection.is_up() {
            return Answer::Later(Box::pin(self.publish_connected(topic, records)));
        }
        let state = match self.writable(topic) {
            Ok(state) => state,
            Err(error) => return Answer::Now(all(records.len(), &error)),
        };
        let mut batch = PublishBatch::new(topic.clone(), records, now_ms());
        let waiting = store(&mut batch, &state);
        if waiting.is_empty() {
            return Answer::Now(batch.into_answers());
        }
        let deadline = Instant::now() + self.options.publish_timeout;
        Answer::Later(Box::pin(self.publish_rest(batch, waiting, deadline)))
    }

    /// The topic, if it accepts records and exists or may be created.
    fn writable(&self, topic: &Topic) -> Result<Arc<TopicState>, PublishError> {
        let refused = |reason| PublishError::Refused { topic: topic.clone(), reason };
        let state = self.cluster.topic(topic).map_err(|error| refused(error.to_string()))?;
        state.refusal().map_or(Ok(state), |reason| Err(refused(reason)))
    }

    /// Waits for the connection, then publishes.
    async fn publish_connected(&self, topic: &Topic, records: Vec<Record>) -> Answers {
        let deadline = Instant::now() + self.options.publish_timeout;
        let connection = &self.cluster.connection;
        loop {
            let mut changed = pin!(connection.changed());
            let mut closed = pin!(self.closed.notified());
            changed.as_mut().enable();
            closed.as_mut().enable();
            if self.is_closed() {
                return all(records.len(), &PublishError::Closed);
            }
            if connection.is_up() {
                break;
            }
            tokio::select! {
                () = changed => {}
                () = closed => {}
                () = sleep_until(deadline) => {
                    return all(records.len(), &PublishError::Unreachable { reason: connection.reason() });
                }
            }
        }
        let state = match self.writable(topic) {
            Ok(state) => state,
            Err(error) => return all(records.len(), &error),
        };
        let mut batch = PublishBatch::new(topic.clone(), records, now_ms());
        let waiting = store(&mut batch, &state);
        self.publish_rest(batch, waiting, deadline).await
    }

    /// Waits for capacity. Dropping the future gives up the places in the queues.
    async fn publish_rest(
        &self,
        mut batch: PublishBatch,
        mut waiting: Vec<WaitingPart>,
        deadline: Instant,
    ) -> Answers {
        let error = {
            let mut closed = pin!(self.closed.notified());
            closed.as_mut().enable();
            let stored = poll_fn(|cx| poll_store(&mut batch, &mut waiting, cx));
            if self.is_closed() {
                Some(PublishError::Closed)
            } else {
                tokio::select! {
                    biased;
                    () = stored => None,
                    () = closed => Some(PublishError::Closed),
                    () = sleep_until(deadline) => Some(PublishError::Timeout {
                        topic: batch.topic().clone(),
                        waited: self.options.publish_timeout,
                        detail: String::new(),
                    }),
                }
            }
        };
        if let Some(mut error) = error {
            for WaitingPart { partition, part, .. } in &mut waiting {
                if let PublishError::Timeout { detail, .. } = &mut error {
                    *detail = partition.describe_full();
                }
                batch.fail(part, &error);
            }
        }
        drop(waiting);
        batch.into_answers()
    }
}
