//! Child processes, started the same way by every command: from the repository root, without
//! standard input.
//!
//! Not a shell: no pipes, no globbing. A child that ends with an error becomes an `Err` that shows
//! the command line.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The result of every command; users read the text of the error.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The path of this program. Read it before anything is built: a build may replace the file, and
/// the system gives no usable path of a replaced one.
pub static PROGRAM: LazyLock<std::result::Result<PathBuf, String>> = LazyLock::new(|| {
    std::env::current_exe().map_err(|error| format!("this program's path: {error}"))
});

/// The repository root: two folders above this package.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}

/// A command that starts in the repository root. Variables that `cargo run` set for this program
/// are removed: a build script that watches one of them would otherwise run again.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// `cargo` of the toolchain that runs this program.
pub fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args);
    cargo
}

/// Runs the command with its output shown.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line_of(command));
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}`: {status}", line_of(command)).into()) }
}

/// Runs the command and returns its standard output; its standard error is shown.
pub fn capture(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("`{}`: {}", line_of(command), output.status).into())
    }
}

/// Runs the command, hands each line of its standard output to `on_line` as it comes, and says how
/// the child ended.
pub fn each_line(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    println!("$ {}", line_of(command));
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| cannot_start(command, &error))?;
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            line.clear();
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("`{}`: {status}", line_of(command)).into()) }
}

/// Whether a program of this name can be started at all (it is asked for its version).
pub fn is_installed(program: impl AsRef<std::ffi::OsStr>) -> bool {
    command(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Writes a file whose folder may not exist yet; a relative path starts at the caller's working
/// directory.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    let written = match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text)),
        None => std::fs::write(path, text),
    };
    written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line =
        program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", line_of(command))
}
