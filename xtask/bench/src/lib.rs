//! Measurements in processes of their own. The measured work lives in the package
//! `buslane-benches`; this crate starts it, reads its JSON lines and judges.
#![allow(clippy::print_stdout, reason = "a command line program answers on standard output")]
#![allow(missing_docs, reason = "a comment on a struct of options would be its help text")]

mod chart;
pub mod compare;
pub mod limits;
pub mod load;
pub mod moves;
mod provenance;
mod verdict;

use std::path::PathBuf;

use xtask_base::process::{Result, cargo, run as run_command};
use xtask_base::programs::measured_binary;
use xtask_base::workspace::Metadata;

/// Builds the program of `benches/peers`, a workspace of its own, after a check of its licences: it
/// is never published, but running it downloads its dependencies.
fn build_peers() -> Result<PathBuf> {
    const MANIFEST: &str = "benches/peers/Cargo.toml";
    let target = Metadata::of_workspace()?.target_directory.join("peers");
    xtask_base::tools::licenses_of(MANIFEST)?;
    run_command(
        cargo(["build", "--release", "--manifest-path", MANIFEST, "--target-dir"]).arg(&target),
    )?;
    Ok(target.join("release").join(format!("buslane-peers{}", std::env::consts::EXE_SUFFIX)))
}

/// Builds the program of `buslane-benches` in the profile `measure` and says where it is.
pub(crate) fn build_worker() -> Result<PathBuf> {
    run_command(&mut cargo([
        "build",
        "--profile",
        "measure",
        "-p",
        "buslane-benches",
        "--features",
        "program",
        "--bin",
        "measure",
    ]))?;
    Ok(measured_binary(&Metadata::of_workspace()?, "measure"))
}
