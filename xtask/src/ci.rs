//! `cargo xtask ci`: every check in order, as the build server runs them. The first failure ends
//! the run.
//!
//! The steps are the project's other commands and plain `cargo` calls; no check lives here.

use std::time::{Duration, Instant};

use xtask_base::process::{Result, capture, cargo, command, is_installed, run as run_command};
use xtask_base::workspace::rust_version;
use xtask_base::{table, tools};

use super::test::TestCounts;
use super::{dashboards, docs, instructions, test, tidy};

struct Step {
    name: &'static str,
    run: fn(&mut TestCounts) -> Result<()>,
}

/// Quick checks first, so that their failures show within seconds.
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
    Step { name: "msrv", run: |_| msrv(true) },
    Step { name: "deny", run: |_| tools::deny() },
    Step {
        name: "doc",
        run: |_| {
            run_command(
                cargo(["doc", "--workspace", "--no-deps", "--all-features"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )
        },
    },
    Step { name: "book", run: |_| docs::book() },
    Step {
        name: "test",
        run: |counts| {
            test::run(
                &test::Args {
                    quick: false,
                    filter: None,
                    kafka: test::When::Auto,
                    nats: test::When::Auto,
                },
                counts,
            )
        },
    },
    Step { name: "dashboards", run: |_| dashboards::run(&dashboards::Args { picture: None }) },
    Step {
        name: "instructions",
        run: |_| instructions::run(&instructions::Args { update: false }),
    },
];

/// Runs the steps and prints the time of each; the last line is the sum of the tests.
pub(crate) fn run() -> Result<()> {
    let mut counts = TestCounts::default();
    let mut rows = Vec::new();
    let mut failure = None;
    for (number, step) in STEPS.iter().enumerate() {
        if failure.is_some() {
            rows.push(vec![step.name.to_owned(), "not run".to_owned(), String::new()]);
            continue;
        }
        println!("\n==> {}/{} {}", number + 1, STEPS.len(), step.name);
        let start = Instant::now();
        let result = (step.run)(&mut counts);
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
    if counts != TestCounts::default() {
        println!("{} passed, {} failed", counts.passed, counts.failed);
    }
    match failure {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// `cargo xtask msrv`: the workspace builds with the Rust version that `Cargo.toml` states. After a
/// clippy run with the same version it only prints a note. Installs no toolchain by itself.
pub(crate) fn msrv(clippy_has_run: bool) -> Result<()> {
    let stated = rust_version()?;
    let active = capture(command("rustc").arg("--version"))?;
    let active = active.split_whitespace().nth(1).unwrap_or_default();
    if is_same(&stated, active) {
        if clippy_has_run {
            println!(
                "the active rustc {active} is the stated minimum {stated}: the clippy step has just built the workspace with it"
            );
            return Ok(());
        }
        return run_command(&mut cargo(["check", "--workspace"]));
    }
    let toolchain = if stated.split('.').count() == 2 { format!("{stated}.0") } else { stated };
    let install = format!("rustup toolchain install {toolchain} --profile minimal");
    let installed = is_installed("rustup")
        && capture(command("rustup").args(["toolchain", "list"]))?
            .lines()
            .any(|line| line.starts_with(&toolchain));
    if !installed {
        return Err(
            format!("Rust {toolchain} is not installed; install it with `{install}`").into()
        );
    }
    run_command(command("rustup").args(["run", &toolchain, "cargo", "check", "--workspace"]))
}

/// Whether `active` (three numbers) is a release of `stated` (two or three numbers).
fn is_same(stated: &str, active: &str) -> bool {
    active == stated
        || (stated.split('.').count() == 2
            && active.strip_prefix(stated).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn a_patch_release_is_the_stated_version() {
        assert!(
            is_same("1.95", "1.95.0") && is_same("1.95", "1.95.1") && is_same("1.95.1", "1.95.1")
        );
        assert!(
            !is_same("1.95", "1.96.0") && !is_same("1.9", "1.95.0") && !is_same("1.95.1", "1.95.0")
        );
    }
}
