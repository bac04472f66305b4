//! The workspace according to `cargo metadata` and the manifests. Reads only; knows no rule.

use std::path::PathBuf;

use serde::Deserialize;

use crate::process::{Result, capture, cargo, root};

/// The part of `cargo metadata` that the commands use.
#[derive(Deserialize)]
pub struct Metadata {
    /// The members of the workspace.
    pub packages: Vec<Package>,
    /// Where cargo builds.
    pub target_directory: PathBuf,
}

/// A member of the workspace.
#[derive(Deserialize)]
pub struct Package {
    /// As its manifest has it.
    pub name: String,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// The direct ones, optional ones included.
    pub dependencies: Vec<Dependency>,
    /// Libraries, programs, tests, benches.
    pub targets: Vec<Target>,
    /// The registries that may have it; `None` for all, empty with `publish = false`.
    pub publish: Option<Vec<String>>,
}

impl Package {
    /// Whether a registry may have it.
    pub fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }
}

/// A dependency as a manifest states it.
#[derive(Deserialize)]
pub struct Dependency {
    /// The package.
    pub name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub kind: Option<String>,
}

/// What cargo builds of a package.
#[derive(Deserialize)]
pub struct Target {
    /// As cargo calls it.
    pub name: String,
    /// `lib`, `bin`, `test`, `bench`, `example`.
    pub kind: Vec<String>,
    /// Whether `cargo test` builds it as a test program.
    pub test: bool,
}

impl Metadata {
    /// The packages of this workspace alone, without the rest of the graph.
    pub fn of_workspace() -> Result<Self> {
        Ok(serde_json::from_str(&capture(&mut cargo([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
        ]))?)?)
    }

    /// Whether a package of the workspace has a target of this kind (`bin`, `bench`, `example`) and
    /// name.
    pub fn has_target(&self, kind: &str, name: &str) -> bool {
        let mut targets = self.packages.iter().flat_map(|package| &package.targets);
        targets.any(|target| target.name == name && target.kind.iter().any(|k| k == kind))
    }
}

/// The minimum Rust version that the root manifest states.
pub fn rust_version() -> Result<String> {
    of_manifest("rust-version")
}

/// Where the project is published, as the root manifest states it.
pub fn repository() -> Result<String> {
    of_manifest("repository")
}

fn of_manifest(key: &str) -> Result<String> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))?.parse()?;
    let package = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
    let value = package.and_then(|package| package.get(key)).and_then(toml::Value::as_str);
    Ok(value.ok_or_else(|| format!("Cargo.toml: [workspace.package] has no {key}"))?.to_owned())
}

/// The version of a package in `Cargo.lock`.
pub fn locked_version(package: &str) -> Result<String> {
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock"))?.parse()?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).ok_or("Cargo.lock: no packages")?;
    let found =
        packages.iter().find(|p| p.get("name").and_then(toml::Value::as_str) == Some(package));
    let version = found.and_then(|p| p.get("version")).and_then(toml::Value::as_str);
    Ok(version.ok_or_else(|| format!("Cargo.lock names no package {package}"))?.to_owned())
}
