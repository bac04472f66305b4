//! The ledger: one CSV line per attempt, in the order in which handlers ended, for independent
//! checks.
//!
//! A line is in the file before its handler ends, and so before its message is settled: killing the
//! process loses no line of a finished attempt.

use buslane::Source;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Done,
    Failed,
    Panicked,
    Rejected,
}

/// A line, without the time of the end.
pub(crate) struct Entry {
    pub(crate) source: Arc<Source>,
    pub(crate) offset: u64,
    pub(crate) aggregate: Bytes,
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
    pub(crate) start_ns: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    aggregate_id: &'a str,
    seq: u64,
    attempt: u32,
    outcome: Outcome,
    start_ns: u64,
    end_ns: u64,
    process_id: u32,
}

const COLUMNS: [&str; 10] = [
    "topic",
    "partition",
    "offset",
    "aggregate_id",
    "seq",
    "attempt",
    "outcome",
    "start_ns",
    "end_ns",
    "process_id",
];

pub(crate) struct Ledger {
    path: PathBuf,
    clock: Clock,
    process_id: u32,
    sink: Mutex<Sink>,
}

struct Sink {
    writer: csv::Writer<File>,
    /// Why the sink is not complete.
    failure: Option<String>,
}

impl Ledger {
    pub(crate) fn create(path: &Path, clock: Clock) -> Result<Self, String> {
        let refused = |why: &dyn std::fmt::Display| {
            format!("--ledger {}: cannot be written: {why}", path.display())
        };
        let file = File::create(path).map_err(|why| refused(&why))?;
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(file);
        writer.write_record(COLUMNS).map_err(|why| refused(&why))?;
        let sink = Mutex::new(Sink { writer, failure: None });
        Ok(Self { path: path.to_owned(), clock, process_id: std::process::id(), sink })
    }

    /// Writes a line and returns the time that it gives as the end.
    pub(crate) fn add(&self, entry: Entry) -> u64 {
        let mut sink = self.sink.lock();
        let end_ns = self.clock.now_ns();
        let line = Line {
            topic: entry.source.topic.as_str(),
            partition: entry.source.partition,
            offset: entry.offset,
            aggregate_id: &String::from_utf8_lossy(&entry.aggregate),
            seq: entry.seq,
            attempt: entry.attempt,
            outcome: entry.outcome,
            start_ns: entry.start_ns,
            end_ns,
            process_id: self.process_id,
        };
        if sink.failure.is_none() {
            let written = sink.writer.serialize(line).and_then(|()| Ok(sink.writer.flush()?));
            sink.failure = written.err().map(|why| why.to_string());
        }
        end_ns
    }

    /// The error after which the ledger is incomplete, if there is one.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.sink.lock().failure {
            None => Ok(()),
            Some(reason) => {
                Err(format!("--ledger {}: not complete: {reason}", self.path.display()))
            }
        }
    }
}

/// Nanoseconds since the Unix epoch that never go back within a process, even when the system's
/// clock does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin_ns: u64,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            origin_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            started: Instant::now(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.origin_ns.saturating_add(elapsed)
    }
}
