//! Measurements in processes of their own. The work that is measured lives in the package `buslane-benches`; this module starts
//! it, reads the JSON lines it prints and judges.

pub(crate) mod chart;
pub(crate) mod compare;
pub(crate) mod distribution;
pub(crate) mod limits;
pub(crate) mod stats;
pub(crate) mod verdict;

use std::path::PathBuf;

use crate::process::{Result, cargo, run as run_command};
use crate::workspace::{Metadata, release_binary};

/// Builds a binary of `buslane-benches` in the release profile and says where it is.
fn build_worker(name: &str) -> Result<PathBuf> {
    let metadata = Metadata::of_workspace()?;
    if !metadata.has_target("bin", name) {
        return Err(format!("the package buslane-benches has no binary `{name}`: add benches/src/bin/{name}.rs").into());
    }
    run_command(&mut cargo(["build", "--release", "-p", "buslane-benches", "--bin", name]))?;
    Ok(release_binary(&metadata, name))
}
