//! `cargo xtask test`: every test and doctest of the workspace, then the smoke runs. `--quick`: the
//! tests that need no broker.
//!
//! All test programs run even when one fails, so that the sum at the end is complete. A Kafka and a
//! NATS start while the tests are built, and end with this command. It judges no test itself.

mod failures;
pub(crate) mod programs;

use std::process::Command;

use crate::smoke;
use programs::Program;
use xtask_base::process::{Result, cargo, each_line};
use xtask_base::tools;
use xtask_base::workspace::Metadata;
use xtask_brokers::BrokerGuard;

/// The packages whose tests talk to a real broker. While the workspace does not have it, none is
/// started.
const NEEDS_KAFKA: &str = "buslane-kafka";
const NEEDS_NATS: &str = "buslane-nats";

const THREADS: &str = "RUST_TEST_THREADS";
/// More than the cores of a small machine, because most tests of a real broker wait for it.
const MANY_THREADS: &str = "8";

/// Tests with random cases would take longer than all other quick tests together, so they try
/// fewer: a tenth of proptest's usual number, and a twentieth of the schedules of the lanes' model.
const QUICK: [(&str, &str); 2] = [("PROPTEST_CASES", "26"), ("MODEL_SCHEDULES", "75")];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests that need no Kafka and no NATS: unit tests and the suites in memory,
    /// without doctests and smoke runs
    #[arg(long, conflicts_with_all = ["kafka", "nats"])]
    pub(crate) quick: bool,
    /// Run only the tests whose names contain this text, and no smoke runs
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Whether to start a Kafka for the tests; `auto` starts one when a package of the workspace
    /// needs it
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) kafka: When,
    /// Whether to start a NATS for the tests; `auto` starts one when a package of the workspace
    /// needs it
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) nats: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// The sum of all `test result:` lines.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// Runs the tests, and adds their results to `counts`, also when it returns an error.
pub(crate) fn run(args: &Args, counts: &mut TestCounts) -> Result<()> {
    let (programs, brokers) = if args.quick {
        (programs::build_quick(&Metadata::of_workspace()?)?, Vec::new())
    } else {
        tools::openssl()?;
        build_beside_brokers(
            is_needed(args.kafka, NEEDS_KAFKA)?,
            is_needed(args.nats, NEEDS_NATS)?,
        )?
    };
    let serve = xtask_brokers::serve_variable()?;
    let arrange = |tests: &mut Command| {
        if args.quick {
            tests.envs(QUICK);
        }
        if std::env::var_os(THREADS).is_none() {
            tests.env(THREADS, MANY_THREADS);
        }
        for broker in &brokers {
            tests.envs(broker.variables());
        }
        tests.env(serve.0, &serve.1);
        tests.args(&args.filter);
    };
    let mut failures = Vec::new();
    let mut failed_tests = Vec::new();
    programs::run(programs, &arrange, |ended| {
        let how = if ended.has_passed { "passed" } else { "failed" };
        println!(
            "\n{how}: {}, {:.1} s\n{}",
            ended.name,
            ended.time.as_secs_f64(),
            ended.output.trim_end()
        );
        ended.output.lines().for_each(|line| counts.add(line));
        if !ended.has_passed {
            failed_tests.extend(failures::of_output(&ended.output));
            failures.push(ended.name);
        }
    });
    if !args.quick {
        let mut examples =
            cargo(["test", "--workspace", "--all-features", "--no-fail-fast", "--doc", "--"]);
        arrange(&mut examples);
        let result = each_line(&mut examples, |line| {
            println!("{line}");
            counts.add(line);
        });
        failures.extend(result.err().map(|error| error.to_string()));
    }
    if !failures.is_empty() {
        for failure in failed_tests {
            println!("\nfailed: {}", failure.test);
            failure.panics.iter().for_each(|line| println!("    {line}"));
        }
        if !brokers.is_empty() {
            println!(
                "\nthe logs of the tests' brokers are kept below the target folder, in brokers/logs"
            );
        }
        return Err(format!("failed: {}", failures.join(", ")).into());
    }
    println!("{} tests passed, {} ignored", counts.passed, counts.ignored);
    if counts.passed == 0 {
        return Err("no test has run".into());
    }
    if args.quick || args.filter.is_some() { Ok(()) } else { smoke::run() }
}

fn is_needed(when: When, package: &str) -> Result<bool> {
    Ok(match when {
        When::Always => true,
        When::Never => false,
        When::Auto => Metadata::of_workspace()?.packages.iter().any(|found| found.name == package),
    })
}

/// Builds the tests while the brokers start. Brokers that the environment names are used and left
/// running.
fn build_beside_brokers(kafka: bool, nats: bool) -> Result<(Vec<Program>, Vec<BrokerGuard>)> {
    // The error becomes text, because a boxed one cannot leave its thread.
    let begin = |is_needed: bool, start: fn() -> Result<Option<BrokerGuard>>| {
        move || if is_needed { start().map_err(|error| error.to_string()) } else { Ok(None) }
    };
    let (built, kafka, nats) = std::thread::scope(|scope| {
        let kafka = scope.spawn(begin(kafka, xtask_brokers::kafka_for_tests));
        let nats = scope.spawn(begin(nats, xtask_brokers::nats_for_tests));
        let built = programs::build();
        (built, kafka.join(), nats.join())
    });
    let kafka = kafka.map_err(|_| "starting Kafka has panicked")??;
    let nats = nats.map_err(|_| "starting NATS has panicked")??;
    Ok((built?, kafka.into_iter().chain(nats).collect()))
}

impl TestCounts {
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
    use super::TestCounts;

    #[test]
    fn result_lines_are_summed() {
        let mut counts = TestCounts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.10s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "a test printed: test result: ok. 9 passed; 9 failed",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, TestCounts { passed: 5, failed: 4, ignored: 1 });
    }
}
