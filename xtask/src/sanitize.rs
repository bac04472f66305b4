//! `cargo xtask sanitize`: the tests of the crate with native code under AddressSanitizer, which
//! finds use after free, overflows and leaks. librdkafka is built with it too.
//!
//! A real Kafka runs, as in `cargo xtask test`.

use std::process::Command;

use xtask_base::process::Result;
use xtask_base::tools;
use xtask_base::workspace::Metadata;

use crate::instrumented::{Builds, SANITIZED};
use crate::test::programs;

/// The only package with calls into native code.
const PACKAGE: &str = "buslane-kafka";
/// A leak fails its program when that ends.
const OPTIONS: (&str, &str) = ("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests whose names contain this text
    #[arg(long)]
    filter: Option<String>,
}

/// Fails when a test fails, or AddressSanitizer reports anything.
pub(crate) fn run(args: &Args) -> Result<()> {
    tools::openssl()?;
    let folder = Metadata::of_workspace()?.target_directory.join("sanitize");
    let builds = Builds::below(&folder)?;
    let tests =
        programs::build_with(&[&format!("--package={PACKAGE}"), "--all-features"], |cargo| {
            builds.arrange(cargo, SANITIZED);
            cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
        })?;
    let broker = xtask_brokers::kafka_for_tests()?;
    let serve = xtask_brokers::serve_variable()?;
    let arrange = |test: &mut Command| {
        test.env(OPTIONS.0, OPTIONS.1).env(serve.0, &serve.1).args(&args.filter);
        // A sanitized process is several times slower.
        test.env("RUST_TEST_THREADS", "4");
        if let Some(broker) = &broker {
            test.envs(broker.variables());
        }
    };
    let mut failures = Vec::new();
    programs::run(tests, &arrange, |ended| {
        let how = if ended.has_passed { "clean" } else { "failed" };
        println!("\n{how}: {}, {:.1} s", ended.name, ended.time.as_secs_f64());
        println!("{}", ended.output.trim_end());
        if !ended.has_passed {
            failures.push(ended.name);
        }
    });
    if failures.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failures.join(", ")).into())
    }
}
