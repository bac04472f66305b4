//! Rules about one source file: words that must not stand in its code, its module documentation,
//! its size.
//!
//! Words are looked for in code alone where a comment may well name what the code must not use.

use super::Finding;
use super::code::{code_only, production_lines};

/// A7: pure modules (a file, or a folder that ends in `/`): no clock and no IO, time is an
/// argument. Tests inside them may. (The engine and the worker loop of the
/// pools read the clock; what is listed here gets the time from them.)
const PURE_MODULES: [&str; 25] = [
    "crates/buslane-core/src/latency.rs",
    "crates/buslane/src/health/fault.rs",
    "crates/buslane/src/health/judge.rs",
    "crates/buslane/src/health/observation.rs",
    "crates/buslane/src/operations/backlog.rs",
    "crates/buslane/src/operations/event.rs",
    "crates/buslane/src/operations/publishing.rs",
    "crates/buslane/src/operations/recovery.rs",
    "crates/buslane/src/rollout/guard.rs",
    "crates/buslane/src/rollout/guard/",
    "crates/buslane/src/rollout/plan.rs",
    "crates/buslane/src/rollout/plan/",
    "crates/buslane-kafka/src/consumer/membership.rs",
    "crates/buslane-lanes/src/bounds.rs",
    "crates/buslane-lanes/src/count.rs",
    "crates/buslane-lanes/src/lanes.rs",
    "crates/buslane-lanes/src/lanes/",
    "crates/buslane-lanes/src/scheduler.rs",
    "crates/buslane-lanes/src/scheduler/",
    "crates/buslane-lanes/src/slab.rs",
    "crates/buslane-lanes/src/local_queue.rs",
    "crates/buslane-lanes/src/waiters.rs",
    "crates/buslane-nats/src/lease/state.rs",
    "crates/buslane-nats/src/source/window.rs",
    "crates/buslane-offsets/src/",
];
const IMPURE_WORDS: [&str; 5] = ["Instant::now", "SystemTime::now", "std::fs", "std::net", "tokio"];

/// Lines of a source file without its test modules.
const LINES_TO_WARN: usize = 500;
const LINES_TO_FAIL: usize = 600;
/// Files that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Checks one file of the repository.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts: Vec<&str> = path.split('/').collect();
    let is_source = match parts.as_slice() {
        ["crates" | "xtask", _, "src", .., file] | ["xtask", "src", .., file] => {
            file.ends_with(".rs")
        }
        _ => false,
    };
    if is_source {
        findings.extend(module_doc(path, text));
        findings.extend(size(path, text));
    }
    if is_source && parts[0] == "crates" {
        let code = code_only(text);
        findings.extend(unbounded(path, &code));
        findings.extend(environment(path, &code));
        findings.extend(purity(path, &code));
    }
    findings
}

/// A listed pure module that is not there is a mistake in the list, which would otherwise check
/// nothing.
pub(super) fn missing_pure_modules<'a>(
    paths: impl Iterator<Item = &'a str> + Clone,
) -> Vec<Finding> {
    let is_missing = |module: &&&str| !paths.clone().any(|path| is_in(path, module));
    let finding = |module: &&str| {
        Finding::failure(
            "xtask/src/tidy/rules.rs",
            1,
            "A7",
            format!("{module} does not exist: correct PURE_MODULES"),
        )
    };
    PURE_MODULES.iter().filter(is_missing).map(finding).collect()
}

fn is_in(path: &str, module: &str) -> bool {
    if module.ends_with('/') { path.starts_with(module) } else { path == module }
}

/// A4: every queue has a bound.
fn unbounded(path: &str, code: &str) -> Vec<Finding> {
    lines_with(code, "unbounded")
        .map(|line| {
            Finding::failure(path, line, "A4", "every queue has a bound: use a bounded one")
        })
        .collect()
}

/// A6: only the config module of the bus reads the environment, and the testkit for where its
/// servers listen.
fn environment(path: &str, code: &str) -> Vec<Finding> {
    if path.starts_with("crates/buslane/src/config")
        || path == "crates/buslane-testkit/src/server.rs"
    {
        return Vec::new();
    }
    let advice =
        "only crates/buslane/src/config* reads the environment: take the value as an argument";
    lines_with(code, "env::var").map(|line| Finding::failure(path, line, "A6", advice)).collect()
}

/// A7: pure modules have no clock and no IO.
fn purity(path: &str, code: &str) -> Vec<Finding> {
    if !PURE_MODULES.iter().any(|module| is_in(path, module)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in production_lines(code) {
        for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
            findings.push(Finding::failure(
                path,
                number,
                "A7",
                format!("a pure module must not use `{word}`: take the value as an argument"),
            ));
        }
    }
    findings
}

/// Every source file says first what it is and what it is not.
fn module_doc(path: &str, text: &str) -> Vec<Finding> {
    let first = text.lines().next().unwrap_or_default();
    // A crate whose documentation is its README says so in its first line.
    if first.starts_with("//!")
        || (path.ends_with("/lib.rs") && first.starts_with("#![doc = include_str!("))
    {
        return Vec::new();
    }
    vec![Finding::failure(
        path,
        1,
        "module-doc",
        "begin the file with `//!`: what it is, and what it is not",
    )]
}

fn size(path: &str, text: &str) -> Vec<Finding> {
    let lines = production_lines(text).len();
    let advice =
        format!("{lines} lines without tests: one concept a file, {LINES_TO_WARN} lines at most");
    if lines > LINES_TO_FAIL && !LONG_FILES.iter().any(|(file, _)| *file == path) {
        vec![Finding::failure(path, lines, "size", advice)]
    } else if lines > LINES_TO_WARN {
        vec![Finding::warning(path, lines, "size", advice)]
    } else {
        Vec::new()
    }
}

fn lines_with<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter(move |(_, line)| line.contains(word)).map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::{PURE_MODULES, check, missing_pure_modules};

    const ANY: &str = "crates/buslane-keyed/src/pool.rs";
    const PURE: &str = "crates/buslane-lanes/src/lanes.rs";

    fn rules(path: &str, text: &str) -> Vec<(usize, &'static str, bool)> {
        check(path, text)
            .into_iter()
            .map(|finding| (finding.line, finding.rule, finding.is_warning))
            .collect()
    }

    #[test]
    fn a4_a_queue_has_a_bound() {
        assert_eq!(rules(ANY, "//! doc\nlet q = unbounded();\n"), [(2, "A4", false)]);
        assert!(
            rules(
                ANY,
                "//! never unbounded\n/// unbounded\nlet q = bounded(1); // not unbounded\n"
            )
            .is_empty()
        );
        assert!(rules("crates/buslane-keyed/tests/pool.rs", "let q = unbounded();\n").is_empty());
    }

    #[test]
    fn a6_only_the_config_reads_the_environment() {
        let text = "//! doc\nlet x = std::env::var(\"X\");\n";
        assert_eq!(rules(ANY, text), [(2, "A6", false)]);
        assert!(rules("crates/buslane/src/config/env.rs", text).is_empty());
        assert!(rules("crates/buslane/src/config.rs", text).is_empty());
        assert!(rules(ANY, "//! doc\nlet x = env!(\"X\"); // env::var\n").is_empty());
    }

    #[test]
    fn a7_pure_modules_have_no_clock_and_no_io() {
        for word in [
            "Instant::now()",
            "SystemTime::now()",
            "std::fs::read(x)",
            "use std::net;",
            "tokio::spawn(x)",
        ] {
            assert_eq!(rules(PURE, &format!("//! doc\n{word}\n")), [(2, "A7", false)], "{word}");
            assert!(rules(ANY, &format!("//! doc\n{word}\n")).is_empty(), "{word}");
            assert!(
                rules(PURE, &format!("//! {word}\n#[cfg(test)]\nmod tests {{\n    {word}\n}}\n"))
                    .is_empty(),
                "{word}"
            );
        }
    }

    #[test]
    fn a7_list_names_what_exists() {
        let all = PURE_MODULES.map(|module| {
            if module.ends_with('/') { format!("{module}x.rs") } else { module.to_owned() }
        });
        assert!(missing_pure_modules(all.iter().map(String::as_str)).is_empty());
        assert_eq!(missing_pure_modules(all.iter().skip(1).map(String::as_str)).len(), 1);
    }

    #[test]
    fn a_source_file_begins_with_its_documentation() {
        assert_eq!(rules(ANY, "use x;\n//! late\n"), [(1, "module-doc", false)]);
        assert_eq!(rules(ANY, ""), [(1, "module-doc", false)]);
        assert!(
            rules("crates/buslane/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n")
                .is_empty()
        );
        for source in ["xtask/src/a.rs", "xtask/chaos/src/a.rs", "crates/order-service/src/a.rs"] {
            assert_eq!(rules(source, "use x;\n"), [(1, "module-doc", false)], "{source}");
        }
        assert!(rules("crates/buslane/tests/it.rs", "use x;\n").is_empty());
    }

    #[test]
    fn a_long_file_warns_and_a_longer_one_fails() {
        let file = |lines: usize| "//! doc\n".to_owned() + &"x\n".repeat(lines - 1);
        assert!(rules(ANY, &file(500)).is_empty());
        assert_eq!(rules(ANY, &file(501)), [(501, "size", true)]);
        assert_eq!(rules(ANY, &file(600)), [(600, "size", true)]);
        assert_eq!(rules(ANY, &file(601)), [(601, "size", false)]);
        assert!(
            rules(
                ANY,
                &(file(500) + "#[cfg(test)]\nmod tests {\n" + &"    x\n".repeat(700) + "}\n")
            )
            .is_empty()
        );
    }
}
