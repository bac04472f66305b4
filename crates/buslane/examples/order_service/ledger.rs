//! The ledger: one CSV line per attempt, in the order in which handlers ended, for anyone who wants to check.
//!
//! A handler takes the time of its end and leaves its line under one short lock; a thread writes what has gathered.

use crate::clock::Clock;
use buslane::core::Source;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
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

/// What a line says, but for the time of the end.
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

/// Lines that wait for the writer; beyond this handlers wait.
const LIMIT: usize = 65_536;
/// Lines that wake the writer.
const MANY: usize = 4096;
/// How long fewer lines wait.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Ledger {
    path: PathBuf,
    clock: Clock,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<csv::Result<()>>>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct Pending {
    entries: Vec<(Entry, u64)>,
    /// No more lines are coming.
    closed: bool,
    /// Nobody writes any more.
    broken: bool,
}

impl Ledger {
    pub(crate) fn create(path: &Path, clock: Clock) -> Result<Self, String> {
        let file =
            File::create(path).map_err(|why| format!("--ledger {}: cannot be written: {why}", path.display()))?;
        let shared = Arc::new(Shared::default());
        let writer = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let written = write(&shared, file);
                let mut pending = shared.pending.lock();
                pending.broken = true;
                pending.entries.clear();
                shared.emptied.notify_all();
                written
            }
        });
        Ok(Self { path: path.to_owned(), clock, shared, writer: Mutex::new(Some(writer)) })
    }

    /// Adds a line and returns the time that it gives as the end.
    pub(crate) fn add(&self, entry: Entry) -> u64 {
        let mut pending = self.shared.pending.lock();
        while pending.entries.len() >= LIMIT && !pending.broken {
            self.shared.emptied.wait(&mut pending);
        }
        let now = self.clock.now_ns();
        if !pending.broken {
            pending.entries.push((entry, now));
            if pending.entries.len() == MANY {
                self.shared.filled.notify_one();
            }
        }
        now
    }

    /// Writes the rest and joins the thread.
    pub(crate) fn close(&self) -> Result<(), String> {
        self.shared.pending.lock().closed = true;
        self.shared.filled.notify_one();
        let written = self.writer.lock().take().map(JoinHandle::join);
        let reason = match written {
            None | Some(Ok(Ok(()))) => return Ok(()),
            Some(Ok(Err(why))) => why.to_string(),
            Some(Err(_)) => "its writer panicked".to_owned(),
        };
        Err(format!("--ledger {}: not complete: {reason}", self.path.display()))
    }
}

fn write(shared: &Shared, file: File) -> csv::Result<()> {
    let process_id = std::process::id();
    let mut writer = csv::WriterBuilder::new().buffer_capacity(1 << 16).has_headers(false).from_writer(file);
    let columns = "topic partition offset aggregate_id seq attempt outcome start_ns end_ns process_id";
    writer.write_record(columns.split(' '))?;
    let mut entries = Vec::new();
    loop {
        let closed = {
            let mut pending = shared.pending.lock();
            if pending.entries.len() < MANY && !pending.closed {
                shared.filled.wait_for(&mut pending, PAUSE);
            }
            std::mem::swap(&mut entries, &mut pending.entries);
            shared.emptied.notify_all();
            pending.closed
        };
        for (entry, end_ns) in entries.drain(..) {
            writer.serialize(Line {
                topic: entry.source.topic.as_str(),
                partition: entry.source.partition,
                offset: entry.offset,
                aggregate_id: &String::from_utf8_lossy(&entry.aggregate),
                seq: entry.seq,
                attempt: entry.attempt,
                outcome: entry.outcome,
                start_ns: entry.start_ns,
                end_ns,
                process_id,
            })?;
        }
        if closed {
            return Ok(writer.flush()?);
        }
    }
}
