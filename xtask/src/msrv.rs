//! `cargo xtask msrv`: the workspace builds with the Rust version that `Cargo.toml` states.
//! Installs no toolchain by itself.

use xtask_base::process::{Result, capture, cargo, command, is_installed, run as run_command};
use xtask_base::workspace::rust_version;

/// Checks the workspace with the stated version. Where clippy has just built it with that very
/// version, this only says so.
pub(crate) fn run(clippy_has_run: bool) -> Result<()> {
    let stated = rust_version()?;
    let active = capture(command("rustc").arg("--version"))?;
    let active = active.split_whitespace().nth(1).unwrap_or_default();
    if is_same(&stated, active) {
        if clippy_has_run {
            println!(
                "the active rustc {active} is the stated minimum {stated}: the clippy step has just built the workspace with it"
            );
            return Ok(());
        }
        return run_command(&mut cargo(["check", "--workspace"]));
    }
    let toolchain = if stated.split('.').count() == 2 { format!("{stated}.0") } else { stated };
    let install = format!("rustup toolchain install {toolchain} --profile minimal");
    let installed = is_installed("rustup")
        && capture(command("rustup").args(["toolchain", "list"]))?
            .lines()
            .any(|line| line.starts_with(&toolchain));
    if !installed {
        return Err(
            format!("Rust {toolchain} is not installed; install it with `{install}`").into()
        );
    }
    run_command(command("rustup").args(["run", &toolchain, "cargo", "check", "--workspace"]))
}

/// Whether `active` (three numbers) is a release of `stated` (two or three numbers).
fn is_same(stated: &str, active: &str) -> bool {
    active == stated
        || (stated.split('.').count() == 2
            && active.strip_prefix(stated).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn a_patch_release_is_the_stated_version() {
        assert!(
            is_same("1.95", "1.95.0") && is_same("1.95", "1.95.1") && is_same("1.95.1", "1.95.1")
        );
        assert!(
            !is_same("1.95", "1.96.0") && !is_same("1.9", "1.95.0") && !is_same("1.95.1", "1.95.0")
        );
    }
}
