//! `cargo xtask ci`: every check in order, as the build server runs them. The first failure ends
//! the run.
//!
//! The steps are the project's other commands and plain `cargo` calls; no check lives here.

use std::time::{Duration, Instant};

use crate::test::Tally;
use crate::{book, dashboards, instructions, msrv, test, tidy};
use xtask_base::process::{Result, cargo, run as run_command};
use xtask_base::{deny, table, tools};

struct Step {
    name: &'static str,
    run: fn(&mut Tally) -> Result<()>,
}

/// Quick checks first: what fails in a second should not be found after minutes.
const STEPS: [Step; 10] = [
    Step { name: "fmt", run: |_| run_command(&mut cargo(["fmt", "--all", "--check"])) },
    Step { name: "tidy", run: |_| tidy::run() },
    Step {
        name: "clippy",
        run: |_| {
            tools::openssl()?;
            run_command(&mut cargo([
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ]))
        },
    },
    Step { name: "msrv", run: |_| msrv::run(true) },
    Step { name: "deny", run: |_| deny::run() },
    Step {
        name: "doc",
        run: |_| {
            run_command(
                cargo(["doc", "--workspace", "--no-deps", "--all-features"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )
        },
    },
    Step { name: "book", run: |_| book::run() },
    Step {
        name: "test",
        run: |tally| {
            test::run(
                &test::Args {
                    quick: false,
                    filter: None,
                    kafka: test::When::Auto,
                    nats: test::When::Auto,
                },
                tally,
            )
        },
    },
    Step { name: "dashboards", run: |_| dashboards::run(&dashboards::Args { picture: None }) },
    Step {
        name: "instructions",
        run: |_| instructions::run(&instructions::Args { update: false }),
    },
];

/// Runs the steps and prints what each took; the last line is the sum of the tests.
pub(crate) fn run() -> Result<()> {
    let mut tally = Tally::default();
    let mut rows = Vec::new();
    let mut failure = None;
    for (number, step) in STEPS.iter().enumerate() {
        if failure.is_some() {
            rows.push(vec![step.name.to_owned(), "not run".to_owned(), String::new()]);
            continue;
        }
        println!("\n==> {}/{} {}", number + 1, STEPS.len(), step.name);
        let start = Instant::now();
        let result = (step.run)(&mut tally);
        let elapsed = in_seconds(start.elapsed());
        println!(
            "<== {} {} after {elapsed}",
            step.name,
            if result.is_ok() { "passed" } else { "failed" }
        );
        rows.push(vec![
            step.name.to_owned(),
            if result.is_ok() { "ok" } else { "FAILED" }.to_owned(),
            elapsed,
        ]);
        failure = result.err().map(|error| format!("{}: {error}", step.name));
    }
    println!("\n{}", table::render(&["step", "result", "time"], &rows));
    if let Some(failure) = &failure {
        println!("{failure}\n");
    }
    if tally != Tally::default() {
        println!("{} passed, {} failed", tally.passed, tally.failed);
    }
    match failure {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
