//! The earlier runs of a soak in parts: the broker's data, the messages that are over, and the
//! result of each run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checks::Check;
use super::run::State;
use crate::ledger::{Snapshot, Verdict};
use xtask_base::process::{Result, write_file};
use xtask_base::table;

const FILE: &str = "history.json";
const HEADER: [&str; 9] =
    ["run", "minutes", "published", "handled", "lost", "order", "again", "faults", "failed checks"];

/// The folder of a soak in parts, and what its earlier runs left there.
pub(super) struct History {
    folder: PathBuf,
    saved: Saved,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    over: Snapshot,
    runs: Vec<Run>,
}

/// The result of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    seed: u64,
    seconds: f64,
    published: u64,
    verdict: Verdict,
    faults: usize,
    stages: u64,
    restarts: u64,
    failed: Vec<String>,
}

impl Run {
    pub(super) fn of(seed: u64, state: &State, checks: &[Check]) -> Self {
        let failed = checks.iter().filter(|check| !check.is_met);
        Self {
            seed,
            seconds: state.seconds,
            published: state.published.unwrap_or(0),
            verdict: state.verdict,
            faults: state.marks.len(),
            stages: state.seen.stages,
            restarts: state.explained + state.unexplained,
            failed: failed.map(|check| format!("{}: {}", check.what, check.found)).collect(),
        }
    }

    fn row(&self, name: String) -> Vec<String> {
        let Verdict { handled, lost, order_violations, redelivered, duplicates, .. } = self.verdict;
        vec![
            name,
            format!("{:.0}", self.seconds / 60.0),
            self.published.to_string(),
            handled.to_string(),
            lost.to_string(),
            order_violations.to_string(),
            format!("{} + {redelivered} after faults", duplicates),
            self.faults.to_string(),
            self.failed.len().to_string(),
        ]
    }
}

impl History {
    /// Begins in an empty or missing folder, or continues where the last run in it ended.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let cannot = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
        let file = folder.join(FILE);
        let saved = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| cannot(&error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if data(folder).exists() {
                    return Err(cannot(
                        &"its last run was cut off, and nobody knows which of its messages are \
                          over: remove the folder to begin anew",
                    )
                    .into());
                }
                Saved::default()
            }
            Err(error) => return Err(cannot(&error).into()),
        };
        Ok(Self { folder: folder.to_owned(), saved })
    }

    /// Where the broker keeps its data.
    pub(super) fn data(&self) -> PathBuf {
        data(&self.folder)
    }

    /// The messages that are over. From now on the folder counts as cut off until
    /// [`save`](Self::save).
    pub(super) fn begin(&mut self) -> Result<Snapshot> {
        match fs::remove_file(self.folder.join(FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(std::mem::take(&mut self.saved.over)),
        }
    }

    pub(super) fn save(&mut self, over: Snapshot, run: Run) -> Result<()> {
        self.saved.over = over;
        self.saved.runs.push(run);
        write_file(&self.folder.join(FILE), &(serde_json::to_string(&self.saved)? + "\n"))
    }

    /// A row for each run, and one for all of them.
    pub(super) fn text(&self) -> String {
        let runs = &self.saved.runs;
        let mut rows: Vec<_> =
            runs.iter().enumerate().map(|(at, run)| run.row((at + 1).to_string())).collect();
        let total = runs.iter().cloned().reduce(|mut total, run| {
            total.seconds += run.seconds;
            total.published += run.published;
            total.verdict.add(&run.verdict);
            total.faults += run.faults;
            total.failed.extend(run.failed);
            total
        });
        rows.extend(total.map(|total| total.row("all".to_owned())));
        table::render(&HEADER, &rows)
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

#[cfg(test)]
mod tests {
    use super::{FILE, History, Run, Verdict};
    use crate::ledger::Snapshot;

    fn run(published: u64) -> Run {
        Run {
            seed: 1,
            seconds: 600.0,
            published,
            verdict: Verdict { handled: published, ..Verdict::default() },
            faults: 20,
            stages: 30,
            restarts: 0,
            failed: Vec::new(),
        }
    }

    #[test]
    fn t5_a_soak_in_parts_adds_up_and_tells_a_run_that_was_cut_off() {
        let folder = std::env::temp_dir().join(format!("soak-history-{}", std::process::id()));
        for published in [100, 200] {
            let mut history = History::open(&folder).expect("a folder");
            std::fs::create_dir_all(history.data()).expect("data");
            history.begin().expect("the last run has ended");
            let cut_off = History::open(&folder).err().expect("a run goes on").to_string();
            assert!(cut_off.contains("was cut off"), "{cut_off}");
            history.save(Snapshot::default(), run(published)).expect("saved");
        }
        let text = History::open(&folder).expect("two runs").text();
        let last = text.lines().last().expect("rows");
        let words: Vec<&str> = last.split_whitespace().take(4).collect();
        assert_eq!(words, ["all", "20", "300", "300"], "{text}");
        std::fs::write(folder.join(FILE), "{").expect("written");
        let broken = History::open(&folder).err().expect("no JSON").to_string();
        assert!(broken.starts_with(&folder.display().to_string()), "{broken}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
