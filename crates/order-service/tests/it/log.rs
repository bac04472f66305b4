//! Logs to replay: the recorded one where it is at hand, else one that is made up with the same
//! columns.

use super::program::file;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// Events of the made-up log.
pub(crate) const EVENTS: u64 = 600;
/// Time from its first to its last event.
pub(crate) const SECONDS: f64 = 29.95;

/// The log that the variable `BUSLANE_REPLAY_LOG` names, or the one beside the repository, or a
/// made-up one.
pub(crate) fn recorded() -> PathBuf {
    if let Some(named) = std::env::var_os("BUSLANE_REPLAY_LOG") {
        return named.into();
    }
    let beside =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/incidents-2013.csv.gz");
    if beside.exists() { beside } else { gzip("instead.csv.gz") }
}

/// The numbers of each case as a log has them.
pub(crate) fn cases(log: &Path) -> BTreeMap<String, Vec<u64>> {
    let bytes = fs::read(log).unwrap();
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut cases: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in reader.deserialize() {
        let row: BTreeMap<String, String> = row.unwrap();
        cases.entry(row["case_id"].clone()).or_default().push(row["seq"].parse().unwrap());
    }
    cases
}

/// Cases of very different lengths, interleaved, 20 events a second.
pub(crate) fn text() -> String {
    let mut lengths = BTreeMap::new();
    let mut text = "timestamp,case_id,seq,activity,transition,group\n".to_owned();
    for event in 0..EVENTS {
        let case = (event * event + event / 7) % 40 % (event % 40 + 1);
        let seq = lengths.entry(case).and_modify(|seq| *seq += 1).or_insert(1);
        let (second, millisecond) = (event / 20, event % 20 * 50);
        writeln!(
            text,
            "2010-03-31T16:59:{second:02}.{millisecond:03}+02:00,1-{case},{seq},Accepted,\"In Progress, \"\"new\"\"\",V5 3rd"
        )
        .unwrap();
    }
    text
}

pub(crate) fn plain(name: &str, text: &str) -> PathBuf {
    let path = file(name);
    fs::write(&path, text).unwrap();
    path
}

/// The made-up log, packed.
pub(crate) fn gzip(name: &str) -> PathBuf {
    let path = file(name);
    let mut packed = GzEncoder::new(File::create(&path).unwrap(), Compression::default());
    packed.write_all(text().as_bytes()).unwrap();
    packed.finish().unwrap();
    path
}
