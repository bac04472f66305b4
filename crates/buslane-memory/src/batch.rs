//! One publish call: its records grouped by partition, and the answers in the order of the records.

use buslane_core::{PublishError, Receipt, Record, Topic, partition_for};
use std::ops::Range;

pub(crate) struct PublishBatch {
    topic: Topic,
    records: Vec<Record>,
    /// Indices of records, grouped by partition, each group in the order of the call. Empty for a
    /// single record.
    order: Vec<u32>,
    answers: Vec<Result<Receipt, PublishError>>,
    /// The time of the call, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

/// The records of a batch that go to one partition.
pub(crate) struct Part {
    /// Positions in the batch's order whose records are not stored yet.
    left: Range<usize>,
}

impl Part {
    pub(crate) fn is_done(&self) -> bool {
        self.left.is_empty()
    }
}

impl PublishBatch {
    pub(crate) fn new(topic: Topic, records: Vec<Record>, timestamp_ms: i64) -> Self {
        // Storing a record overwrites its answer. A record that is never reached keeps the answer
        // `Closed`.
        let mut answers = Vec::with_capacity(records.len());
        answers.resize_with(records.len(), || Err(PublishError::Closed));
        Self { topic, records, order: Vec::new(), answers, timestamp_ms }
    }

    /// The number of records without a key.
    pub(crate) fn keyless(&self) -> usize {
        self.records.iter().filter(|record| record.key.is_none()).count()
    }

    /// Groups the records by partition, and calls `each` with the index and the part of each
    /// partition. Records without a key take turns, beginning with the partition after `turn`.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 records")]
    pub(crate) fn split(
        &mut self,
        partitions: usize,
        mut turn: u64,
        mut each: impl FnMut(&mut Self, usize, Part),
    ) {
        let count = partitions as u32;
        let mut choose = |record: &Record| match &record.key {
            Some(key) => partition_for(key, count),
            None => {
                turn = turn.wrapping_add(1);
                (turn % u64::from(count)) as u32
            }
        };
        if let [record] = &self.records[..] {
            let partition = choose(record) as usize;
            return each(self, partition, Part { left: 0..1 });
        }
        // A counting sort: counts the records of each partition, computes the beginning of each
        // group, and puts each record into its group.
        let chosen: Vec<u32> = self.records.iter().map(&mut choose).collect();
        let mut ends = vec![0_usize; partitions];
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
        for (partition, end) in ends.into_iter().enumerate() {
            if end > begin {
                each(self, partition, Part { left: begin..end });
            }
            begin = end;
        }
    }

    /// The index and the size of the part's next record.
    pub(crate) fn peek(&self, part: &Part) -> Option<(usize, usize)> {
        let position = part.left.clone().next()?;
        let at = self.order.get(position).map_or(position, |at| *at as usize);
        Some((at, self.records[at].bytes()))
    }

    /// Moves a record out of the batch.
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

    /// Answers all records that are not stored yet with this error.
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
