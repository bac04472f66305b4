//! A checker of ledgers that shares nothing with the program that wrote them.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

#[derive(Debug, Deserialize)]
struct Line {
    topic: String,
    partition: u32,
    offset: u64,
    aggregate_id: String,
    seq: u64,
    attempt: u32,
    outcome: String,
    start_ns: u64,
    end_ns: u64,
    process_id: u32,
}

pub(crate) struct Ledger(Vec<Line>);

const HEADER: &str =
    "topic,partition,offset,aggregate_id,seq,attempt,outcome,start_ns,end_ns,process_id";
/// Attempts that an envelope gets.
const ATTEMPTS: u32 = 5;

impl Ledger {
    pub(crate) fn read(path: &Path) -> Self {
        let mut reader = csv::Reader::from_path(path).unwrap();
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>().join(","), HEADER);
        Self(reader.deserialize().map(Result::unwrap).collect())
    }

    /// Lines stand in the order of their ends; an aggregate is handled by one handler at a time,
    /// whatever the topic; in each topic its messages come in order, each tried until it is done or
    /// given up, and done once.
    pub(crate) fn check(&self) {
        let mut last_end = 0;
        let mut last_of_aggregate: HashMap<&str, &Line> = HashMap::new();
        let mut last_of_topic: HashMap<(&str, &str), &Line> = HashMap::new();
        let mut places = BTreeSet::new();
        for line in &self.0 {
            assert!(line.start_ns <= line.end_ns && last_end <= line.end_ns, "time: {line:?}");
            last_end = line.end_ns;
            assert_eq!(line.process_id, self.0[0].process_id);
            if line.outcome == "done" {
                let is_new = places.insert((&line.topic, line.partition, line.offset));
                assert!(is_new, "done twice: {line:?}");
            }
            if line.aggregate_id.is_empty() {
                continue;
            }
            if let Some(before) = last_of_aggregate.insert(&line.aggregate_id, line) {
                assert!(before.end_ns <= line.start_ns, "at the same time: {before:?} {line:?}");
            }
            match last_of_topic.insert((&line.topic, &line.aggregate_id), line) {
                None => assert_eq!(line.attempt, 1, "{line:?}"),
                Some(before) => follows(before, line),
            }
        }
    }

    pub(crate) fn count(&self, outcome: &str) -> usize {
        self.0.iter().filter(|line| line.outcome == outcome).count()
    }

    pub(crate) fn topics(&self) -> BTreeSet<&str> {
        self.0.iter().map(|line| line.topic.as_str()).collect()
    }

    /// Everything that was done, without its order.
    pub(crate) fn done(&self) -> BTreeSet<(String, String, u64)> {
        let done = self.0.iter().filter(|line| line.outcome == "done");
        done.map(|line| (line.topic.clone(), line.aggregate_id.clone(), line.seq)).collect()
    }

    /// The numbers of each aggregate in the order in which they were done.
    pub(crate) fn cases(&self) -> BTreeMap<String, Vec<u64>> {
        let mut cases: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in self.0.iter().filter(|line| line.outcome == "done") {
            cases.entry(line.aggregate_id.clone()).or_default().push(line.seq);
        }
        cases
    }
}

/// Whether `line` may come after `before`, both of one aggregate in one topic.
fn follows(before: &Line, line: &Line) {
    assert_eq!(
        before.partition, line.partition,
        "an aggregate has one partition: {before:?} {line:?}"
    );
    if before.seq == line.seq {
        assert_ne!(before.outcome, "done", "tried after it was done: {line:?}");
        assert_eq!(
            (before.offset, before.attempt + 1),
            (line.offset, line.attempt),
            "{before:?} {line:?}"
        );
        return;
    }
    assert_eq!(before.seq + 1, line.seq, "order: {before:?} {line:?}");
    assert!(before.offset < line.offset, "order of offsets: {before:?} {line:?}");
    assert_eq!(line.attempt, 1, "{line:?}");
    let is_regular = before.topic == "cache.invalidate";
    let is_over = before.outcome == "done"
        || before.outcome == "rejected"
        || before.attempt == ATTEMPTS
        || is_regular;
    // Behind a dead letter a message has one attempt, so poison behind poison is over after it.
    assert!(is_over || before.attempt == 1, "given up too early: {before:?} {line:?}");
}
