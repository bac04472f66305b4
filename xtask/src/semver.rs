//! `cargo xtask semver`: compares the public API of the published crates with an earlier one, by
//! cargo-semver-checks.
//!
//! The earlier one is the last release, which is a git tag `v…`, or any revision. It is no step of
//! `ci`: it documents every crate twice, which takes minutes.

use xtask_base::process::{Result, capture, command, run as run_command};
use xtask_base::tools::cargo_tool;
use xtask_base::workspace::Metadata;

const VERSION: &str = "0.51.0";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The git revision to compare with; the tag of the last release by default
    #[arg(long, value_name = "REVISION")]
    against: Option<String>,
}

/// Fails when the version in `Cargo.toml` does not allow a change of the API.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Some(baseline) = args.against.clone().or_else(last_release) else {
        println!(
            "nothing to compare with: no tag v… exists, so nothing is published yet; name a revision with `--against`, such as `--against main`"
        );
        return Ok(());
    };
    let metadata = Metadata::of_workspace()?;
    let program = cargo_tool("cargo-semver-checks", VERSION, &[], &metadata.target_directory)?;
    let mut check = command(program);
    check.args(["semver-checks", "--all-features", "--baseline-rev", &baseline]);
    for package in metadata.packages.iter().filter(|package| package.is_published()) {
        check.args(["--package", &package.name]);
    }
    run_command(&mut check)
}

/// The tag of the last release, if there is one.
fn last_release() -> Option<String> {
    let describe = ["describe", "--tags", "--match", "v[0-9]*", "--abbrev=0"];
    let tag = capture(command("git").args(describe)).ok()?;
    Some(tag.trim().to_owned())
}
