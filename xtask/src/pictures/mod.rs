//! `cargo xtask pictures`: draws the charts of the pages from the measured results in
//! `benches/results/`.
//!
//! It measures nothing. `benches/results/README.md` says which command writes which file.

mod peers;
mod rollback;
mod sheet;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use xtask_base::process::{Result, root, write_file};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of the results [default: benches/results]
    #[arg(long, value_name = "FOLDER")]
    results: Option<PathBuf>,
    /// The folder of the pictures [default: docs]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

/// Where and when a file of results was measured; the picture says it in small type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    /// Machine, broker and turns.
    conditions: String,
    /// The day, as `2026-11-24`, or the month.
    date: String,
}

impl Source {
    /// Two lines: what has measured it, and under which conditions.
    fn lines(&self, command: &str) -> [String; 2] {
        [format!("Measured by {command}"), format!("{}. {}.", self.conditions, self.date)]
    }
}

/// Draws all pictures.
pub(crate) fn run(args: &Args) -> Result<()> {
    let results = args.results.clone().unwrap_or_else(|| root().join("benches/results"));
    let into = args.into.clone().unwrap_or_else(|| root().join("docs"));
    let sources: BTreeMap<String, Source> = read(&results, "sources.json")?;
    let noted = |name: &str| {
        sources
            .get(name)
            .ok_or_else(|| format!("sources.json: says nothing of {name}: its conditions and date"))
    };
    let lines: Vec<peers::Line> = read(&results, peers::FILE)?;
    let report: rollback::Report = read(&results, rollback::FILE)?;
    // A file that names its run needs no note.
    let run = peers::source(&lines);
    let of_peers = run.as_ref().map_or_else(|| noted(peers::FILE), Ok)?;
    let pictures = [
        ("peers.svg", peers::draw(&lines, of_peers)?),
        ("rollback.svg", rollback::draw(&report, noted(rollback::FILE)?)?),
    ];
    for (name, svg) in pictures {
        let path = into.join(name);
        write_file(&path, &svg)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}
