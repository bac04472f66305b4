//! `cargo xtask instructions`: instruction counts per message, compared with the counts kept in
//! `benches/instructions.json`.
//!
//! valgrind counts instructions, so the figures are the same on a quiet and on a noisy machine;
//! they say nothing of waiting, locks or caches (the criterion benches do). The bench itself lives
//! in the package `buslane-benches`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use xtask_base::process::{Result, cargo, each_line, root, write_file};
use xtask_base::workspace::{Metadata, locked_version};
use xtask_base::{table, tools};

/// A count may grow by this share before the check fails.
const ALLOWED_GROWTH: f64 = 0.05;
const COUNTS_FILE: &str = "benches/instructions.json";

type Counts = BTreeMap<String, u64>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the measured counts to benches/instructions.json instead of comparing
    #[arg(long)]
    pub(crate) update: bool,
}

/// Measures, prints the table, and fails when a count has grown too much or the file does not name
/// the same benches.
pub(crate) fn run(args: &Args) -> Result<()> {
    let metadata = Metadata::of_workspace()?;
    if !metadata.has_target("bench", "instructions") {
        return Err(
            "the package buslane-benches has no bench `instructions`: add benches/benches/instructions.rs".into()
        );
    }
    tools::valgrind()?;
    // The runner and the library must be of the same version: the lock file names it.
    let runner = tools::cargo_tool(
        "gungraun-runner",
        &locked_version("gungraun")?,
        &[],
        &metadata.target_directory,
    )?;
    let measured = measure(&runner)?;
    let file = root().join(COUNTS_FILE);
    if args.update {
        write_file(&file, &(serde_json::to_string_pretty(&measured)? + "\n"))?;
        println!("{COUNTS_FILE}: {} counts written", measured.len());
        return Ok(());
    }
    let kept = std::fs::read_to_string(&file).map_err(|error| {
        format!("{COUNTS_FILE}: {error}: run `cargo xtask instructions --update`")
    })?;
    let kept: Counts =
        serde_json::from_str(&kept).map_err(|error| format!("{COUNTS_FILE}: {error}"))?;
    let (rows, failures) = compare(&kept, &measured);
    println!("{}", table::render(&["bench", "kept", "measured", "change", "result"], &rows));
    if failures.is_empty() {
        return Ok(());
    }
    let advice = "make the code cheaper, or say in the commit why it costs more and run `cargo xtask instructions --update`";
    Err(format!("{}: {advice}", failures.join("; ")).into())
}

/// One row per bench, and one sentence for each that fails.
fn compare(kept: &Counts, measured: &Counts) -> (Vec<Vec<String>>, Vec<String>) {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    let names: std::collections::BTreeSet<&String> = kept.keys().chain(measured.keys()).collect();
    for name in names {
        let shown = |count: Option<&u64>| count.map_or_else(|| "-".to_owned(), u64::to_string);
        let (change, verdict) = match (kept.get(name), measured.get(name)) {
            (Some(&old), Some(&new)) => {
                let growth = ratio(new, old) - 1.0;
                // Compared as a ratio: 105 of 100 must pass, and 1.05 - 1.0 is a little more than
                // 0.05.
                let is_too_much = ratio(new, old) > 1.0 + ALLOWED_GROWTH;
                if is_too_much {
                    failures.push(format!("{name} grew by {:.1} %", growth * 100.0));
                }
                let verdict = if is_too_much { "FAILED" } else { "ok" };
                (format!("{:+.2} %", growth * 100.0), verdict)
            }
            (None, _) => {
                failures.push(format!("{name} is not in {COUNTS_FILE}"));
                (String::new(), "NEW")
            }
            (_, None) => {
                failures.push(format!("{name} is in {COUNTS_FILE} but was not measured"));
                (String::new(), "GONE")
            }
        };
        rows.push(vec![
            name.clone(),
            shown(kept.get(name)),
            shown(measured.get(name)),
            change,
            verdict.to_owned(),
        ]);
    }
    (rows, failures)
}

#[allow(clippy::cast_precision_loss, reason = "instruction counts are far below 2^53")]
fn ratio(new: u64, old: u64) -> f64 {
    new as f64 / (old.max(1)) as f64
}

/// From which size on the C library copies and clears by an instruction that repeats itself differs
/// from processor to processor, and the counts with it: never.
const COPIES: &str = "--envs=GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// Runs the bench. gungraun prints one JSON object a line and bench.
fn measure(runner: &Path) -> Result<Counts> {
    let mut bench = cargo([
        "bench",
        "-p",
        "buslane-benches",
        "--bench",
        "instructions",
        "--",
        "--output-format=json",
        COPIES,
    ]);
    let mut counts = Counts::new();
    let mut unreadable = None;
    each_line(bench.env("GUNGRAUN_RUNNER", runner), |line| {
        if !line.starts_with('{') {
            return;
        }
        match count_of(line) {
            Some((name, count)) => {
                counts.insert(name, count);
            }
            None => unreadable = Some(line.to_owned()),
        }
    })?;
    match unreadable {
        Some(line) => {
            Err(format!("cannot read the count in this line of gungraun: {line:.300}").into())
        }
        None if counts.is_empty() => Err("the bench `instructions` has measured nothing".into()),
        None => Ok(counts),
    }
}

/// Name and instruction count of one line: `group::function` or `group::function/id`.
fn count_of(line: &str) -> Option<(String, u64)> {
    let summary: Value = serde_json::from_str(line).ok()?;
    let mut name =
        format!("{}::{}", summary["group"].as_str()?, summary["function_name"].as_str()?);
    if let Some(id) = summary["id"].as_str() {
        name = format!("{name}/{id}");
    }
    let profile =
        summary["profiles"].as_array()?.iter().find(|profile| profile["tool"] == "Callgrind")?;
    let count = profile["data"]["total"]["metrics"]["Ir"]["values"]["new"].as_u64()?;
    Some((name, count))
}

#[cfg(test)]
mod tests {
    use super::{Counts, compare, count_of};

    fn counts(list: &[(&str, u64)]) -> Counts {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn growth_above_five_percent_fails() {
        assert_eq!(
            compare(&counts(&[("a", 100), ("b", 100)]), &counts(&[("a", 105), ("b", 40)])).1,
            Vec::<String>::new()
        );
        assert_eq!(
            compare(&counts(&[("a", 1000)]), &counts(&[("a", 1051)])).1,
            ["a grew by 5.1 %"]
        );
    }

    #[test]
    fn the_file_names_exactly_what_is_measured() {
        let (rows, failures) = compare(&counts(&[("gone", 1)]), &counts(&[("new", 1)]));
        assert_eq!(failures.len(), 2);
        assert_eq!(rows[0], ["gone", "1", "-", "", "GONE"]);
    }

    #[test]
    fn a_line_of_gungraun_is_read() {
        let line = |id: &str, values: &str| {
            format!(
                r#"{{"group":"sums","function_name":"sized",{id}"profiles":[{{"tool":"Callgrind","data":{{"total":{{"metrics":{{"Ir":{{"values":{values}}}}}}}}}}}]}}"#
            )
        };
        assert_eq!(count_of(&line("", r#"{"new":1424}"#)), Some(("sums::sized".to_owned(), 1424)));
        assert_eq!(
            count_of(&line(r#""id":"small","#, r#"{"new":7,"old":9}"#)),
            Some(("sums::sized/small".to_owned(), 7))
        );
        assert_eq!(count_of(&line("", r#"{"old":9}"#)), None);
    }
}
