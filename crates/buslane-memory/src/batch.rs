//! One publish call: its records grouped by partition, and the answers in the order of the records.

use buslane_core::{PublishError, Receipt, Record, Topic, partition_for};
use std::{ops::Range, sync::Arc};

use crate::{partition::Partition, topic::TopicState};

pub(crate) struct Batch {
    topic: Topic,
    records: Vec<Record>,
    /// Indices of records, one partition behind the other, each in the order of the call. Empty
    /// when all go to one.
    order: Vec<u32>,
    answers: Vec<Result<Receipt, PublishError>>,
    /// When the call was made, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

/// The records of a batch that go to one partition.
pub(crate) struct Part {
    pub(crate) partition: Arc<Partition>,
    /// Places in the batch's order that are still to be stored.
    left: Range<usize>,
    /// Its place among the waiting publishers of the partition.
    pub(crate) ticket: Option<u64>,
}

impl Part {
    pub(crate) fn is_done(&self) -> bool {
        self.left.is_empty()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.partition.leave_queue(&mut self.ticket);
        }
    }
}

impl Batch {
    pub(crate) fn new(topic: Topic, records: Vec<Record>, timestamp_ms: i64) -> Self {
        // Each answer is written when its record is stored; what is never reached stays closed.
        let mut answers = Vec::with_capacity(records.len());
        answers.resize_with(records.len(), || Err(PublishError::Closed));
        Self { topic, records, order: Vec::new(), answers, timestamp_ms }
    }

    /// Groups the records by partition and gives each group to `each`.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 records")]
    pub(crate) fn split(&mut self, topic: &TopicState, mut each: impl FnMut(&mut Self, Part)) {
        let partitions = topic.partitions();
        let count = partitions.len() as u32;
        let mut turn =
            topic.take_turns(self.records.iter().filter(|record| record.key.is_none()).count());
        let mut choose = |record: &Record| match &record.key {
            Some(key) => partition_for(key, count),
            None => {
                turn = turn.wrapping_add(1);
                (turn % u64::from(count)) as u32
            }
        };
        if let [record] = &self.records[..] {
            let partition = Arc::clone(&partitions[choose(record) as usize]);
            return each(self, Part { partition, left: 0..1, ticket: None });
        }
        // A counting sort: how many go to each partition, where each begins, then each record to
        // its place.
        let chosen: Vec<u32> = self.records.iter().map(&mut choose).collect();
        let mut ends = vec![0_usize; partitions.len()];
        for partition in &chosen {
            ends[*partition as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        self.order.resize(chosen.len(), 0);
        for (at, partition) in chosen.iter().enumerate() {
            let end = &mut ends[*partition as usize];
            self.order[*end] = at as u32;
            *end += 1;
        }
        let mut begin = 0;
        for (partition, end) in partitions.iter().zip(ends) {
            if end > begin {
                each(
                    self,
                    Part { partition: Arc::clone(partition), left: begin..end, ticket: None },
                );
            }
            begin = end;
        }
    }

    /// Index and bytes of the part's next record.
    pub(crate) fn peek(&self, part: &Part) -> Option<(usize, usize)> {
        let place = part.left.clone().next()?;
        let at = self.order.get(place).map_or(place, |at| *at as usize);
        Some((at, self.records[at].bytes()))
    }

    /// Moves a record out.
    pub(crate) fn take(&mut self, at: usize) -> Record {
        std::mem::take(&mut self.records[at])
    }

    pub(crate) fn stored(&mut self, at: usize, part: &mut Part, partition: u32, offset: u64) {
        self.answers[at] =
            Ok(Receipt { topic: self.topic.clone(), partition, offset, duplicate: false });
        part.left.start += 1;
    }

    pub(crate) fn refuse(&mut self, at: usize, part: &mut Part, bytes: usize, limit: String) {
        self.answers[at] = Err(PublishError::TooLarge { topic: self.topic.clone(), bytes, limit });
        part.left.start += 1;
    }

    /// Gives the same error to all records that are still to be stored.
    pub(crate) fn fail(&mut self, part: &mut Part, error: &PublishError) {
        while let Some((at, _)) = self.peek(part) {
            self.answers[at] = Err(error.clone());
            part.left.start += 1;
        }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(crate) fn into_answers(self) -> Vec<Result<Receipt, PublishError>> {
        self.answers
    }
}
