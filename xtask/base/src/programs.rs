//! Builds the programs that other commands start: the order service and the rigs.

use std::path::PathBuf;

use crate::process::{Result, cargo, run};
use crate::tools;
use crate::workspace::Metadata;

/// The build profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// All programs with the features of the tests, so that a build after the tests compiles
    /// nothing.
    Dev,
    /// Only the order service, for long runs and measurements.
    Release,
}

/// Returns the folder of the programs.
pub fn build(profile: Profile) -> Result<PathBuf> {
    tools::openssl()?;
    let (what, folder): (&[&str], _) = match profile {
        Profile::Dev => (
            &[
                "--workspace",
                "--all-features",
                "--bin=order-service",
                "--bin=hostile",
                "--bin=fault-scenario",
            ],
            "debug",
        ),
        Profile::Release => {
            (&["--release", "-p=order-service", "--features=kafka,nats,http,jemalloc"], "release")
        }
    };
    run(cargo(["build"]).args(what))?;
    Ok(Metadata::of_workspace()?.target_directory.join(folder))
}

/// Builds them and returns the order service.
pub fn order_service(profile: Profile) -> Result<PathBuf> {
    Ok(build(profile)?.join(format!("order-service{}", std::env::consts::EXE_SUFFIX)))
}

/// Builds them and returns the program that publishes hostile input. It measures nothing, so a
/// debug build is enough.
pub fn hostile() -> Result<PathBuf> {
    Ok(build(Profile::Dev)?.join(format!("hostile{}", std::env::consts::EXE_SUFFIX)))
}

/// Where a program of this workspace ends up that was built with the profile `measure`.
pub fn measured_binary(metadata: &Metadata, name: &str) -> PathBuf {
    metadata
        .target_directory
        .join("measure")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
