//! Tests of what a whole process shares: its allocator, threads, file descriptors, signals and
//! metrics recorder. Those that another test would disturb run in a process of their own.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod allocations;
mod http_descriptors;
mod lag_metrics;
mod leaks;
mod sighup;

use std::process::Command;

/// Names the one test of a process.
const ALONE: &str = "BUSLANE_TEST_ALONE";

/// Whether this process runs nothing but `test`. Otherwise runs `test` in a process that does.
#[allow(clippy::disallowed_methods, reason = "the process is told by its environment")]
fn is_alone(test: &str) -> bool {
    let is_alone = std::env::var_os(ALONE).is_some_and(|alone| alone == test);
    if !is_alone {
        run_alone(test, &[]);
    }
    is_alone
}

/// Runs `test` in a process of its own with these variables, and expects it to pass.
fn run_alone(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored", "--nocapture"]).env(ALONE, test);
    command.env_remove("BUSLANE_CONFIG").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{:?}: {said}", output.status);
}
