//! A recorded event log: CSV, plain or gzip, checked as a whole before its first line is published.
//!
//! It is read as a stream each time, so its size does not matter.

use buslane::check_aggregate_id;
use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use flate2::bufread::MultiGzDecoder;
use serde_json::{Map, Value};
use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};
use thiserror::Error;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// An error in a log, with its position.
#[derive(Debug, Error)]
#[error("--replay {path}{place}: {reason}")]
pub(crate) struct ReplayError {
    path: String,
    /// ` line 3, column 2 (seq)`, or nothing.
    place: String,
    reason: String,
}

/// Columns that every log has.
const REQUIRED: [&str; 4] = ["timestamp", "case_id", "seq", "activity"];
/// Payload fields that this program adds.
const RESERVED: [&str; 2] = ["sent_ns", "fault"];

/// A log that was read to its end once.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    events: u64,
    first: OffsetDateTime,
}

/// One recorded event.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its number in the log, from 0.
    pub(crate) event: u64,
    pub(crate) timestamp: OffsetDateTime,
    pub(crate) case: String,
    pub(crate) seq: u64,
    pub(crate) activity: String,
    /// The other columns.
    pub(crate) fields: Map<String, Value>,
}

impl Log {
    /// Reads the log once, and keeps its totals.
    pub(crate) fn open(path: &Path) -> Result<Self, ReplayError> {
        let mut rows = Rows::open(path, |_| true)?;
        let mut log = Self { path: path.to_owned(), events: 0, first: OffsetDateTime::UNIX_EPOCH };
        let mut last: HashMap<String, u64> = HashMap::new();
        while let Some(row) = rows.next() {
            let row = row?;
            if log.events == 0 {
                log.first = row.timestamp;
            }
            log.events += 1;
            match last.get_mut(&row.case) {
                Some(before) if *before >= row.seq => {
                    let reason =
                        format!("must grow within its case, found {} after {before}", row.seq);
                    return Err(rows.wrong(rows.columns[2], reason));
                }
                Some(before) => *before = row.seq,
                None => drop(last.insert(row.case, row.seq)),
            }
        }
        if log.events == 0 {
            return Err(error(path, "", "there is no event in it"));
        }
        Ok(log)
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// Timestamp of its first line.
    pub(crate) const fn first(&self) -> OffsetDateTime {
        self.first
    }

    /// The events of the cases that `wanted` says yes to, in the order of the log.
    pub(crate) fn rows(
        &self,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Rows, ReplayError> {
        Rows::open(&self.path, wanted)
    }

    /// The cases of some events.
    pub(crate) fn cases_of(
        &self,
        events: impl Fn(u64) -> bool,
    ) -> Result<HashSet<String>, ReplayError> {
        let rows = self.rows(|_| true)?;
        rows.filter(|row| row.as_ref().map_or(true, |row| events(row.event)))
            .map(|row| row.map(|row| row.case))
            .collect()
    }
}

/// Selects the wanted cases.
type Wanted = Box<dyn Fn(&[u8]) -> bool + Send>;

/// A log being read.
pub(crate) struct Rows {
    path: PathBuf,
    reader: Reader<Box<dyn Read + Send>>,
    headers: StringRecord,
    /// Where the required columns are.
    columns: [usize; 4],
    record: StringRecord,
    event: u64,
    wanted: Wanted,
}

impl Rows {
    fn open(
        path: &Path,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self, ReplayError> {
        let mut reader = ReaderBuilder::new().from_reader(text(path)?);
        let headers =
            reader.headers().map_err(|why| unreadable(path, &StringRecord::new(), &why))?.clone();
        let wrong = |reason| Err(error(path, " line 1", reason));
        for (index, name) in headers.iter().enumerate() {
            if RESERVED.contains(&name) {
                return wrong(format!(
                    "a column must not be called {name:?}, which this program writes itself"
                ));
            }
            if headers.iter().take(index).any(|other| other == name) {
                return wrong(format!("two columns are called {name:?}"));
            }
        }
        let mut columns = [0; 4];
        for (column, name) in columns.iter_mut().zip(REQUIRED) {
            match headers.iter().position(|header| header == name) {
                Some(position) => *column = position,
                None => {
                    let found = headers.iter().collect::<Vec<_>>().join(", ");
                    return wrong(format!("there is no column {name:?}; found {found:?}"));
                }
            }
        }
        let (path, record, wanted) = (path.to_owned(), StringRecord::new(), Box::new(wanted));
        Ok(Self { path, reader, headers, columns, record, event: 0, wanted })
    }

    fn parse(&self) -> Result<Row, ReplayError> {
        let [timestamp, case, seq, activity] = self.columns;
        let at = |column: usize| &self.record[column];
        let parsed = OffsetDateTime::parse(at(timestamp), &Rfc3339).map_err(|why| {
            self.wrong(
                timestamp,
                format!("must be a time as RFC 3339 has it, found {:?}: {why}", at(timestamp)),
            )
        })?;
        check_aggregate_id(at(case).as_bytes()).map_err(|why| self.wrong(case, why))?;
        let number = at(seq).parse().ok().filter(|number: &u64| *number > 0);
        let number = number.ok_or_else(|| {
            self.wrong(seq, format!("must be a whole number of at least 1, found {:?}", at(seq)))
        })?;
        if at(activity).trim().is_empty() {
            return Err(self.wrong(activity, "must not be blank"));
        }
        let others = self.headers.iter().zip(&self.record).enumerate();
        let others = others.filter(|(column, _)| !self.columns.contains(column));
        Ok(Row {
            event: self.event - 1,
            timestamp: parsed,
            case: at(case).to_owned(),
            seq: number,
            activity: at(activity).to_owned(),
            fields: others.map(|(_, (name, value))| (name.to_owned(), value.into())).collect(),
        })
    }

    fn wrong(&self, column: usize, reason: impl Display) -> ReplayError {
        let line = self.record.position().map_or(0, csv::Position::line);
        error(&self.path, &place(line, column, &self.headers), reason)
    }
}

impl Iterator for Rows {
    type Item = Result<Row, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.reader.read_record(&mut self.record) {
                Ok(false) => return None,
                Ok(true) => {}
                Err(why) => return Some(Err(unreadable(&self.path, &self.headers, &why))),
            }
            self.event += 1;
            if (self.wanted)(self.record[self.columns[1]].as_bytes()) {
                return Some(self.parse());
            }
        }
    }
}

/// The text of a file, unpacked when it is gzip.
fn text(path: &Path) -> Result<Box<dyn Read + Send>, ReplayError> {
    let cannot = |why: std::io::Error| error(path, "", format_args!("cannot be read: {why}"));
    let file = File::open(path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(error(path, "", "must be a file, because it is read more than once"));
    }
    let mut file = BufReader::new(file);
    let is_gzip = file.fill_buf().map_err(cannot)?.starts_with(&[0x1f, 0x8b]);
    if !is_gzip && path.extension().is_some_and(|extension| extension == "gz") {
        return Err(error(path, "", "its name ends in .gz, but it is not gzip"));
    }
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn unreadable(path: &Path, headers: &StringRecord, why: &csv::Error) -> ReplayError {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(0, csv::Position::line);
    match why.kind() {
        ErrorKind::Utf8 { pos, err } => {
            error(path, &place(line(pos), err.field(), headers), "must be UTF-8")
        }
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let reason = format!("has {len} columns, the first line has {expected_len}");
            error(path, &format!(" line {}", line(pos)), reason)
        }
        ErrorKind::Io(why) => error(path, "", format_args!("cannot be read to its end: {why}")),
        _ => error(path, "", why),
    }
}

fn place(line: u64, column: usize, headers: &StringRecord) -> String {
    format!(" line {line}, column {} ({})", column + 1, headers.get(column).unwrap_or("?"))
}

fn error(path: &Path, place: &str, reason: impl Display) -> ReplayError {
    ReplayError {
        path: path.display().to_string(),
        place: place.to_owned(),
        reason: reason.to_string(),
    }
}
