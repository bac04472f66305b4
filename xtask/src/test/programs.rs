//! The test programs of the workspace: cargo builds them, and several run beside each other,
//! because most tests of a real broker wait for it and leave the processor to others.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde::Deserialize;
use xtask_base::process::{Result, cargo, command, each_line, root};
use xtask_base::workspace::{Metadata, Package};

/// One test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The package, and the target where that has another name.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// Where tests expect to be started.
    pub(crate) folder: PathBuf,
}

/// The used part of cargo's message about a built artifact.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds all of them.
pub(crate) fn build() -> Result<Vec<Program>> {
    build_with(&["--workspace", "--all-features"], |_| {})
}

/// The clients of the brokers. Building them takes longer than all of the rest.
const CLIENTS: [&str; 2] = ["async-nats", "rdkafka"];
/// What the quick tests need beyond the default features.
const QUICK_FEATURES: &str = "--features=buslane/http,order-service/http";

/// Builds those of the crates that need no client of a broker.
pub(crate) fn build_quick(metadata: &Metadata) -> Result<Vec<Program>> {
    let crates = root().join("crates");
    let needs_client = |package: &Package| {
        package.dependencies.iter().any(|dependency| CLIENTS.contains(&&*dependency.name))
    };
    let quick = metadata.packages.iter();
    let quick = quick
        .filter(|package| package.manifest_path.starts_with(&crates) && !needs_client(package))
        .map(|package| format!("--package={}", package.name));
    let chosen: Vec<String> = quick.collect();
    let mut what = vec!["--lib", "--tests", QUICK_FEATURES];
    what.extend(chosen.iter().map(String::as_str));
    build_with(&what, |_| {})
}

/// Whether a program runs for so long that it must begin first, or the others wait for its end.
fn takes_long(program: &str) -> bool {
    needs_broker(program) || matches!(program, "buslane: bus" | "order-service: it")
}

/// Whether the tests of a program talk to a Kafka or a NATS: those of the adapters, and those that
/// are named for them. Unit tests never do.
fn needs_broker(program: &str) -> bool {
    let Some((package, test)) = program.split_once(": ") else { return false };
    matches!(package, "buslane-kafka" | "buslane-nats")
        || ["kafka", "nats"].iter().any(|broker| test.starts_with(broker))
}

/// Builds those that `what` selects; `arrange` changes the call of cargo.
pub(crate) fn build_with(
    what: &[&str],
    arrange: impl FnOnce(&mut Command),
) -> Result<Vec<Program>> {
    let format = "--message-format=json-render-diagnostics";
    let mut programs = Vec::new();
    let mut build = cargo(["test", "--no-run", format]);
    arrange(build.args(what));
    each_line(&mut build, |line| programs.extend(program(line)))?;
    // Cargo names them as it comes to an end with each.
    programs.sort_by(|one, other| {
        takes_long(&other.name).cmp(&takes_long(&one.name)).then_with(|| one.name.cmp(&other.name))
    });
    Ok(programs)
}

fn program(line: &str) -> Option<Program> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    let executable = artifact.executable.filter(|_| artifact.profile.test)?;
    let folder = artifact.manifest_path.parent()?.to_path_buf();
    let package = folder.file_name()?.to_string_lossy().into_owned();
    let target = artifact.target.name;
    let name =
        if target == package.replace('-', "_") { package } else { format!("{package}: {target}") };
    Some(Program { name, executable, folder })
}

/// Programs at once. Each runs several tests at once already.
const BESIDE: usize = 3;

/// The outcome of one program.
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) has_passed: bool,
    pub(crate) time: Duration,
    /// Its whole output.
    pub(crate) output: String,
}

/// Runs each program once, and passes its outcome to `look`; `arrange` adds the arguments and
/// variables that all of them get.
pub(crate) fn run(
    programs: Vec<Program>,
    arrange: &(dyn Fn(&mut Command) + Sync),
    mut look: impl FnMut(Ended),
) {
    let waiting = Mutex::new(VecDeque::from(programs));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (ended, all) = mpsc::sync_channel(BESIDE);
    std::thread::scope(|scope| {
        for _ in 0..BESIDE {
            let ended = ended.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some(program) = next() {
                    // The receiver is there until the last one is done.
                    let _ = ended.send(run_one(&program, arrange));
                }
            });
        }
        drop(ended);
        all.iter().for_each(&mut look);
    });
}

fn run_one(program: &Program, arrange: &(dyn Fn(&mut Command) + Sync)) -> Ended {
    println!("begins: {}", program.name);
    let start = Instant::now();
    let mut test = command(&program.executable);
    test.current_dir(&program.folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    arrange(&mut test);
    let (has_passed, output) = match test.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            (output.status.success(), text.concat())
        }
        Err(error) => (false, format!("{}: {error}\n", program.executable.display())),
    };
    Ended { name: program.name.clone(), has_passed, time: start.elapsed(), output }
}

#[cfg(test)]
mod tests {
    use super::{Program, needs_broker, program};

    fn line(target: &str, is_test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"p","manifest_path":"/crates/buslane-core/Cargo.toml",
               "target":{{"kind":["test"],"name":"{target}"}},"profile":{{"test":{is_test}}},"executable":{executable}}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn only_test_programs_are_taken() {
        let found = |name: &str| {
            Some(Program {
                name: name.to_owned(),
                executable: "/deps/it".into(),
                folder: "/crates/buslane-core".into(),
            })
        };
        assert_eq!(program(&line("suite", true, "\"/deps/it\"")), found("buslane-core: suite"));
        assert_eq!(program(&line("buslane_core", true, "\"/deps/it\"")), found("buslane-core"));
        for other in [
            &line("suite", true, "null"),
            &line("suite", false, "\"/deps/it\""),
            r#"{"reason":"x"}"#,
            "text",
        ] {
            assert_eq!(program(other), None, "{other}");
        }
    }

    #[test]
    fn programs_that_need_a_broker_are_known() {
        for name in ["buslane-kafka: broker", "buslane-bus-suite: kafka", "buslane-bus-suite: nats"]
        {
            assert!(needs_broker(name), "{name}");
        }
        for name in ["buslane-kafka", "buslane: bus", "buslane-memory: contract"] {
            assert!(!needs_broker(name), "{name}");
        }
    }
}
