//! Programs that a check needs and that a fresh machine may lack; each is installed once, in the
//! version that the project names. Also the checks that cargo-deny makes: licences, sources and
//! bans from the lists in `deny.toml`; advisories need a database from the network, and the
//! workflow checks them.
//!
//! What cargo can build goes below the target folder and touches nothing outside it. valgrind,
//! Prometheus, Java, Maven and Go come from the system's packages.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::process::{Result, capture, cargo, command, is_installed, run as run_command};
use super::workspace::Metadata;

/// A program built by `cargo install` with these flags: the one on the search path if its version
/// matches, else a copy below the target folder.
pub fn cargo_tool(name: &str, version: &str, flags: &[&str], target: &Path) -> Result<PathBuf> {
    let is_right = |program: &Path| {
        let mut ask = command(program);
        is_installed(program)
            && capture(ask.arg("--version")).is_ok_and(|text| version_in(&text) == Some(version))
    };
    if is_right(Path::new(name)) {
        return Ok(PathBuf::from(name));
    }
    let folder = target.join("tools").join(format!("{name}-{version}"));
    let program = folder.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        println!("{name} {version} is not installed: building it once, which takes a minute");
        let mut install =
            cargo(["install", "--quiet", "--locked", name, "--version", version, "--root"]);
        install.arg(&folder).args(flags);
        // It runs for seconds: optimizing it takes longer than that saves.
        for (setting, value) in
            [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "false")]
        {
            install.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        run_command(&mut install)?;
    }
    Ok(program)
}

/// `0.20.2` of `cargo-deny 0.20.2` and of `mdbook v0.20.2`.
fn version_in(text: &str) -> Option<&str> {
    let word = text.split_whitespace().nth(1)?;
    Some(word.strip_prefix('v').unwrap_or(word))
}

/// valgrind, from the system's packages.
pub fn valgrind() -> Result<()> {
    if is_installed("valgrind") {
        Ok(())
    } else {
        system_package("valgrind", "valgrind", &["valgrind"])
    }
}

/// OpenSSL's headers and pkg-config, from the system's packages: the TLS of the Kafka client is
/// built with them.
pub fn openssl() -> Result<()> {
    if !is_installed("pkg-config") {
        system_package("pkg-config", "pkg-config", &["pkg-config"])?;
    }
    if capture(command("pkg-config").args(["--exists", "openssl"])).is_ok() {
        return Ok(());
    }
    system_package("OpenSSL's headers", "libssl-dev", &["libssl-dev"])
}

/// Prometheus with its promtool, from the system's packages.
pub fn prometheus() -> Result<()> {
    if is_installed("prometheus") && is_installed("promtool") {
        return Ok(());
    }
    system_package("Prometheus", "prometheus", &["prometheus"])
}

/// Installs the first available of these packages, where no question is needed: as root, on a
/// system with apt. `what` and `program` name the missing program in the error. All output goes to
/// standard error.
pub fn system_package(what: &str, program: &str, packages: &[&str]) -> Result<()> {
    let is_root = capture(command("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || !is_installed("apt-get") {
        let debian = packages.join("` or `sudo apt-get install ");
        return Err(format!(
            "{what} is missing (`{program}`): install it (Debian: `sudo apt-get install {debian}`)"
        )
        .into());
    }
    let apt = |args: &[&str]| {
        eprintln!("$ apt-get {}", args.join(" "));
        let output = Stdio::from(std::io::stderr());
        command("apt-get").args(args).stdout(output).status().is_ok_and(|status| status.success())
    };
    let install = || packages.iter().any(|package| apt(&["install", "-y", "-q", package]));
    // A fresh machine has no lists of packages yet, and only then an update is worth its time.
    if install() || (apt(&["update", "-q"]) && install()) {
        return Ok(());
    }
    Err(format!(
        "{what} is missing (`{program}`), and apt-get cannot install {}",
        packages.join(" or ")
    )
    .into())
}

const CARGO_DENY: &str = "0.20.2";

/// Runs the three checks that need only the checkout and the lock file.
pub fn deny() -> Result<()> {
    let program =
        cargo_tool("cargo-deny", CARGO_DENY, &[], &Metadata::of_workspace()?.target_directory)?;
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
        cargo_tool("cargo-deny", CARGO_DENY, &[], &Metadata::of_workspace()?.target_directory)?;
    run_command(
        command(program).args(["--manifest-path", manifest, "--config", "deny.toml"]).args([
            "check",
            "--hide-inclusion-graph",
            "licenses",
        ]),
    )
}
