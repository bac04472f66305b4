//! `cargo xtask test`: every test and doctest of the workspace, then the smoke runs of the examples.
//!
//! All test programs run even when one fails, so that the sum at the end is the truth. A Kafka for those that need one starts
//! while they are built and ends with this command. It judges no test itself.

use crate::brokers::{self, Held};
use crate::process::{Result, cargo, each_line, run as run_command};
use crate::smoke;
use crate::tools;
use crate::workspace::Metadata;

/// The packages whose tests talk to a real Kafka. While the workspace has none of them, no broker is started.
const NEEDS_KAFKA: [&str; 1] = ["buslane-kafka"];

const THREADS: &str = "RUST_TEST_THREADS";
/// More than there are cores on a small machine: most tests of a real broker wait for it.
const MANY_THREADS: &str = "8";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests whose names contain this text, and no smoke runs
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Whether to start a Kafka for the tests; `auto` starts one when a package of the workspace needs it
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) kafka: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// The sum of all `test result:` lines.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// Runs the tests; `tally` holds what has run, also when this returns an error.
pub(crate) fn run(args: &Args, tally: &mut Tally) -> Result<()> {
    tools::openssl()?;
    let kafka = if needs_kafka(args.kafka)? { build_beside_kafka()? } else { None };
    let mut tests = cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    if std::env::var_os(THREADS).is_none() {
        tests.env(THREADS, MANY_THREADS);
    }
    if let Some(kafka) = &kafka {
        tests.envs(kafka.variables());
    }
    tests.envs([brokers::serve_variable()?]);
    if let Some(filter) = &args.filter {
        tests.args(["--", filter]);
    }
    let result = each_line(&mut tests, |line| {
        println!("{line}");
        tally.add(line);
    });
    if result.is_err() && kafka.is_some() {
        println!("the log of the tests' Kafka is kept below the target folder, in brokers/logs");
    }
    result?;
    println!("{} tests passed, {} ignored", tally.passed, tally.ignored);
    if tally.passed == 0 {
        return Err("no test has run".into());
    }
    match args.filter {
        None => smoke::run(),
        Some(_) => Ok(()),
    }
}

fn needs_kafka(when: When) -> Result<bool> {
    Ok(match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            Metadata::of_workspace()?.packages.iter().any(|package| NEEDS_KAFKA.contains(&package.name.as_str()))
        }
    })
}

/// Builds the tests while Kafka starts. `None` when the environment names a broker that is not ours to stop.
fn build_beside_kafka() -> Result<Option<Held>> {
    let (built, kafka) = std::thread::scope(|scope| {
        // The error is text here: a boxed one cannot leave its thread.
        let kafka = scope.spawn(|| brokers::kafka_for_tests().map_err(|error| error.to_string()));
        let built = run_command(&mut cargo(["test", "--workspace", "--all-features", "--no-run"]));
        (built, kafka.join())
    });
    let kafka = kafka.map_err(|_| "starting Kafka has panicked")??;
    built.map(|()| kafka)
}

impl Tally {
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in counts.split([';', '.']) {
            let mut words = part.split_whitespace();
            let Some(count) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn result_lines_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.10s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "a test printed: test result: ok. 9 passed; 9 failed",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 5, failed: 4, ignored: 1 });
    }
}
