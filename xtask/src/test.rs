//! `cargo xtask test`: every test and doctest of the workspace, then the smoke runs of the examples.
//!
//! All test programs run even when one fails, so that the sum at the end is the truth. It judges no test itself.

use crate::process::{Result, cargo, each_line};
use crate::smoke;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests whose names contain this text, and no smoke runs
    #[arg(long)]
    pub(crate) filter: Option<String>,
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
    let mut tests = cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    if let Some(filter) = &args.filter {
        tests.args(["--", filter]);
    }
    each_line(&mut tests, |line| {
        println!("{line}");
        tally.add(line);
    })?;
    println!("{} tests passed, {} ignored", tally.passed, tally.ignored);
    if tally.passed == 0 {
        return Err("no test has run".into());
    }
    match args.filter {
        None => smoke::run(),
        Some(_) => Ok(()),
    }
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
