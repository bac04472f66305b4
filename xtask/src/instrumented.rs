//! What the commands `fuzz` and `sanitize` share: builds with instrumentation that a stable
//! compiler has, but does not promise to keep.

use std::path::{Path, PathBuf};
use std::process::Command;

use xtask_base::process::{Result, capture, command};

/// AddressSanitizer, with what its reports need to name functions.
pub(crate) const SANITIZED: &str = "-Zsanitizer=address -Cforce-frame-pointers=yes";

/// The same for librdkafka, whose build takes no flags of the compiler for Rust.
const SANITIZED_C: &str = "-fsanitize=address -fno-omit-frame-pointer -g";

/// Instrumented builds: for the host, but named as a target, so that build scripts and procedural
/// macros stay plain.
pub(crate) struct Builds {
    pub(crate) host: String,
    target: PathBuf,
}

impl Builds {
    /// Those below this folder.
    pub(crate) fn below(target: &Path) -> Result<Self> {
        let host = capture(command("rustc").args(["--print", "host-tuple"]))?.trim().to_owned();
        Ok(Self { host, target: target.to_owned() })
    }

    /// Lets cargo build with these flags.
    pub(crate) fn arrange<'a>(&self, cargo: &'a mut Command, flags: &str) -> &'a mut Command {
        cargo
            .args(["--target", &self.host, "--target-dir"])
            .arg(&self.target)
            // The flags below are unstable by name, and the stable compiler knows them.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags)
            .env("CFLAGS", SANITIZED_C)
    }

    /// Where release builds lie.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join(&self.host).join("release")
    }
}
