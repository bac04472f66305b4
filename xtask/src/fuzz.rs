//! `cargo xtask fuzz`: feeds the parsers of foreign bytes with inputs that libFuzzer makes up,
//! under AddressSanitizer.
//!
//! The targets are the programs of `xtask/fuzz`. Inputs that reach new code are kept below the
//! target folder, and the next run begins with them.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use xtask_base::process::{Result, cargo, command, root, run as run_command};
use xtask_base::table;
use xtask_base::workspace::Metadata;

use crate::instrumented::{Builds, SANITIZED};

const PACKAGE: &str = "xtask/fuzz";
/// What cargo-fuzz passes to the compiler, too: libFuzzer counts edges and sees comparisons.
const COVERED: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table";
/// Seconds after which one input counts as a hang.
const HANG: u64 = 60;
const MOST_MIB: u64 = 2_048;
const HEADER: [&str; 6] = ["target", "result", "inputs", "a second", "edges", "kept inputs"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Targets, the files of xtask/fuzz/src/bin; all by default
    targets: Vec<String>,
    /// Minutes for each target
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Targets at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// Run one target once, with the input in this file: to look at a failure again
    #[arg(long, value_name = "FILE", conflicts_with = "minutes")]
    input: Option<PathBuf>,
}

/// Fails when an input made a target panic, hang, or touch memory that is not its own.
pub(crate) fn run(args: &Args) -> Result<()> {
    let known = targets()?;
    if let Some(wrong) = args.targets.iter().find(|name| !known.contains(name)) {
        return Err(format!("{wrong} is no target: there are {}", known.join(", ")).into());
    }
    let chosen = if args.targets.is_empty() { known } else { args.targets.clone() };
    let folder = Metadata::of_workspace()?.target_directory.join("fuzz");
    let manifest = format!("{PACKAGE}/Cargo.toml");
    let builds = Builds::below(&folder)?;
    let mut build = cargo(["build", "--release", "--manifest-path", &manifest]);
    run_command(builds.arrange(&mut build, &format!("{SANITIZED} {COVERED}")))?;
    if let Some(input) = &args.input {
        let [target] = &chosen[..] else { return Err("--input wants one target".into()) };
        return run_command(command(builds.release().join(target)).arg(input.canonicalize()?));
    }
    let results = fuzz(&chosen, &folder, &builds.release(), args)?;
    let rows: Vec<_> = results.iter().map(Fuzzed::row).collect();
    println!("{}", table::render(&HEADER, &rows));
    let failed: Vec<_> = results.iter().filter_map(Fuzzed::failure).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let files = fs::read_dir(root().join(PACKAGE).join("src/bin"))?;
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Runs the targets, some at a time.
fn fuzz(chosen: &[String], folder: &Path, programs: &Path, args: &Args) -> Result<Vec<Fuzzed>> {
    let seconds = args.minutes * 60;
    let jobs = usize::try_from(args.jobs)?;
    let rounds = chosen.len().div_ceil(jobs) as u64;
    let bar = ProgressBar::new(rounds * seconds);
    bar.set_style(ProgressStyle::with_template(
        "{elapsed_precise} {wide_bar} {percent:>3} % {msg}",
    )?);
    let begun = Instant::now();
    let mut results = Vec::new();
    for together in chosen.chunks(jobs) {
        bar.set_message(together.join(", "));
        if bar.is_hidden() {
            eprintln!("{} for {seconds} s", together.join(", "));
        }
        let running =
            together.iter().map(|target| Running::start(target, folder, programs, seconds));
        let mut running: Vec<Running> = running.collect::<Result<_>>()?;
        while let Some(at) = running.first().map(|_| begun.elapsed().as_secs()) {
            bar.set_position(at);
            std::thread::sleep(Duration::from_millis(500));
            let mut at = 0;
            while at < running.len() {
                match running[at].process.try_wait()? {
                    Some(status) => {
                        results.push(running.swap_remove(at).ended(status.success())?);
                    }
                    None => at += 1,
                }
            }
        }
    }
    bar.finish_and_clear();
    results.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(results)
}

struct Running {
    target: String,
    process: Child,
    log: PathBuf,
    kept: PathBuf,
}

impl Running {
    fn start(target: &str, folder: &Path, programs: &Path, seconds: u64) -> Result<Self> {
        let [kept, failures] = ["kept", "failures"].map(|what| folder.join(what).join(target));
        fs::create_dir_all(&kept)?;
        fs::create_dir_all(&failures)?;
        let log = folder.join(format!("{target}.log"));
        let output = File::create(&log)?;
        let mut fuzzer = command(programs.join(target));
        fuzzer.arg(&kept).args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={HANG}"),
            format!("-rss_limit_mb={MOST_MIB}"),
            format!("-artifact_prefix={}/", failures.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        let package = root().join(PACKAGE);
        let (seeds, words) =
            (package.join("seeds").join(target), package.join("words").join(target));
        if seeds.exists() {
            fuzzer.arg(seeds);
        }
        if words.exists() {
            fuzzer.arg(format!("-dict={}", words.display()));
        }
        fuzzer.stdout(Stdio::null()).stderr(output);
        Ok(Self { target: target.to_owned(), process: fuzzer.spawn()?, log, kept })
    }

    fn ended(self, is_clean: bool) -> Result<Fuzzed> {
        let text = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        let kept = fs::read_dir(&self.kept)?.count();
        Ok(Fuzzed::of(self.target, is_clean, &text, kept, &self.log))
    }
}

/// The outcome of one target.
#[derive(Debug, PartialEq, Eq)]
struct Fuzzed {
    target: String,
    is_clean: bool,
    inputs: u64,
    a_second: u64,
    edges: u64,
    kept: usize,
    /// The file of the failing input.
    input: Option<String>,
    /// The first line of the report.
    what: String,
    log: PathBuf,
}

impl Fuzzed {
    /// From what libFuzzer wrote.
    fn of(target: String, is_clean: bool, text: &str, kept: usize, log: &Path) -> Self {
        let after = |start: &str| {
            text.lines().rev().find_map(|line| Some(line.split_once(start)?.1.trim().to_owned()))
        };
        let number = |start: &str| {
            let digits = after(start)?;
            digits.split_whitespace().next()?.parse().ok()
        };
        let report = text.lines().find(|line| {
            line.contains("panicked at") || line.contains("ERROR: ") && line.contains("Sanitizer")
        });
        Self {
            target,
            is_clean,
            inputs: number("stat::number_of_executed_units:").unwrap_or(0),
            a_second: number("stat::average_exec_per_sec:").unwrap_or(0),
            edges: number(" cov: ").unwrap_or(0),
            kept,
            input: after("Test unit written to "),
            what: report.unwrap_or("it ended early").to_owned(),
            log: log.to_owned(),
        }
    }

    fn row(&self) -> Vec<String> {
        let result = if self.is_clean { "clean" } else { "FAILED" };
        vec![
            self.target.clone(),
            result.to_owned(),
            self.inputs.to_string(),
            self.a_second.to_string(),
            self.edges.to_string(),
            self.kept.to_string(),
        ]
    }

    fn failure(&self) -> Option<String> {
        let again = self.input.as_ref().map_or_else(String::new, |input| {
            format!("\n  again: cargo xtask fuzz {} --input {input}", self.target)
        });
        (!self.is_clean).then(|| {
            format!("{}: {}{again}\n  log: {}", self.target, self.what, self.log.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Fuzzed, targets};
    use std::path::Path;

    #[test]
    fn the_result_is_read_from_what_libfuzzer_writes() {
        let of =
            |is_clean, text| Fuzzed::of("config".to_owned(), is_clean, text, 3, Path::new("l"));
        let clean = of(
            true,
            "#2\tINITED cov: 12 ft: 13\n#512\tpulse  cov: 40 ft: 50 corp: 9\n\
             stat::number_of_executed_units: 1024\nstat::average_exec_per_sec:     512\n",
        );
        assert_eq!((clean.inputs, clean.a_second, clean.edges, clean.kept), (1_024, 512, 40, 3));
        assert_eq!(clean.failure(), None);
        let failed = of(
            false,
            "thread '<unnamed>' panicked at src/a.rs:1:2:\nno\nartifact_prefix='f/'; Test unit \
             written to f/crash-1\n",
        );
        let text = failed.failure().expect("it failed");
        assert!(
            text.contains("panicked at src/a.rs") && text.contains("--input f/crash-1"),
            "{text}"
        );
    }

    #[test]
    fn targets_are_the_programs_of_the_package() {
        let names = targets().expect("the folder is there");
        for name in ["config", "envelope", "nats-headers", "nats-names", "record"] {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
    }
}
