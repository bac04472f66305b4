//! `cargo xtask deny`: licences, sources and bans of the dependencies, judged by cargo-deny from
//! the lists in `deny.toml`.
//!
//! Leaves out what needs a database from the network (advisories, yanked versions): the workflow
//! asks cargo-deny for those, so that a check at the desk does not fail because the world has
//! changed.

use crate::process::{Result, command, run as run_command};
use crate::tools::cargo_tool;
use crate::workspace::Metadata;

const VERSION: &str = "0.20.2";

/// Runs the three checks that need only the checkout and the lock file.
pub fn run() -> Result<()> {
    let program =
        cargo_tool("cargo-deny", VERSION, &[], &Metadata::of_workspace()?.target_directory)?;
    run_command(command(program).args([
        "--all-features",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// Checks the licences of another workspace's dependencies, by the same list.
pub fn licenses_of(manifest: &str) -> Result<()> {
    let program =
        cargo_tool("cargo-deny", VERSION, &[], &Metadata::of_workspace()?.target_directory)?;
    run_command(
        command(program).args(["--manifest-path", manifest, "--config", "deny.toml"]).args([
            "check",
            "--hide-inclusion-graph",
            "licenses",
        ]),
    )
}
