//! Programs that a check needs and that a fresh machine may lack: each is installed once, in the version the project names.
//!
//! What cargo can build goes below the target folder and touches nothing outside it. valgrind comes from the system's packages.

use std::path::{Path, PathBuf};

use crate::process::{Result, capture, cargo, command, is_installed, run as run_command};

/// A program built by `cargo install`: the one on the search path when its version is the right one, else a copy of its own.
pub(crate) fn cargo_tool(name: &str, version: &str, target: &Path) -> Result<PathBuf> {
    let is_right = |program: &Path| {
        let mut ask = command(program);
        is_installed(program)
            && capture(ask.arg("--version")).is_ok_and(|text| text.split_whitespace().nth(1) == Some(version))
    };
    if is_right(Path::new(name)) {
        return Ok(PathBuf::from(name));
    }
    let folder = target.join("tools").join(format!("{name}-{version}"));
    let program = folder.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        println!("{name} {version} is not installed: building it once, which takes two to three minutes");
        run_command(cargo(["install", "--quiet", "--locked", name, "--version", version, "--root"]).arg(&folder))?;
    }
    Ok(program)
}

/// Installs valgrind where this may be done without asking: as root, on a system with apt.
pub(crate) fn valgrind() -> Result<()> {
    if is_installed("valgrind") {
        return Ok(());
    }
    let is_root = capture(command("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || !is_installed("apt-get") {
        return Err("valgrind is missing: install it (Debian: `sudo apt-get install valgrind`)".into());
    }
    let install = || run_command(command("apt-get").args(["install", "-y", "-q", "valgrind"]));
    install().or_else(|_| run_command(command("apt-get").args(["update", "-q"])).and_then(|()| install()))
}
