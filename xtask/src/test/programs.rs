//! The test programs of the workspace: cargo builds them and says where they are.

use std::path::PathBuf;

use serde::Deserialize;

use xtask_base::process::{Result, cargo, each_line};
use xtask_base::workspace::Metadata;

/// One test program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The package, and the target where that has another name.
    pub(super) name: String,
    pub(super) executable: PathBuf,
    /// Where tests expect to be started.
    pub(super) folder: PathBuf,
}

/// What cargo says of each thing it has built, as far as it matters here.
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

/// Builds all of them, and the examples.
pub(super) fn build() -> Result<Vec<Program>> {
    let mut programs = build_only(&[])?;
    // Those that wait for a broker take longest.
    programs.sort_by_key(|program| !needs_broker(&program.name));
    Ok(programs)
}

/// Builds those that need no broker. The features are those of all tests, so neither builds
/// anything anew for the other.
pub(super) fn build_quick(metadata: &Metadata) -> Result<Vec<Program>> {
    let mut what = vec!["--lib".to_owned(), "--bins".to_owned()];
    for package in &metadata.packages {
        let tests =
            package.targets.iter().filter(|target| target.kind.iter().any(|it| it == "test"));
        let names = tests.map(|target| &target.name);
        let quick = names.filter(|name| !needs_broker(&format!("{}: {name}", package.name)));
        what.extend(quick.map(|name| format!("--test={name}")));
    }
    let mut programs = build_only(&what)?;
    // Another package may have a test of the same name.
    programs.retain(|program| !needs_broker(&program.name));
    Ok(programs)
}

/// Whether the tests of a program talk to a Kafka or a NATS: those of the adapters, and those that
/// are named for them. Unit tests never do.
fn needs_broker(program: &str) -> bool {
    let Some((package, test)) = program.split_once(": ") else { return false };
    matches!(package, "buslane-kafka" | "buslane-nats")
        || ["kafka", "nats"].iter().any(|broker| test.starts_with(broker))
}

fn build_only(what: &[String]) -> Result<Vec<Program>> {
    let format = "--message-format=json-render-diagnostics";
    let mut programs = Vec::new();
    let mut build = cargo(["test", "--workspace", "--all-features", "--no-run", format]);
    each_line(build.args(what), |line| programs.extend(program(line)))?;
    // Cargo names them as it comes to an end with each.
    programs.sort_by(|one, other| one.name.cmp(&other.name));
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
    fn quick_tests_need_no_broker() {
        for name in ["buslane-kafka: contract", "buslane: kafka", "buslane: nats"] {
            assert!(needs_broker(name), "{name}");
        }
        for name in ["buslane-kafka", "buslane: bus", "buslane-memory: contract"] {
            assert!(!needs_broker(name), "{name}");
        }
    }
}
