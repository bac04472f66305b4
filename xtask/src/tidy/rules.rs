//! Rules about one source file: words that must not stand in its code, its module documentation,
//! its size.
//!
//! Words are looked for in code alone where a comment may well name what the code must not use.

use super::Finding;
use super::code::{code_only, production_lines};

/// A7: pure crates: no clock and no IO, time is an argument. Their tests may use both.
const PURE_CRATES: [&str; 4] =
    ["buslane-lanes", "buslane-offsets", "buslane-rollout", "buslane-settings"];
/// A7: pure modules of crates that read the clock elsewhere.
const PURE_MODULES: [&str; 11] = [
    "crates/buslane-core/src/latency.rs",
    "crates/buslane/src/backlog/detector.rs",
    "crates/buslane/src/backlog/event.rs",
    "crates/buslane/src/backlog/recovery.rs",
    "crates/buslane/src/health/evaluator.rs",
    "crates/buslane/src/health/fault.rs",
    "crates/buslane/src/health/signals.rs",
    "crates/buslane/src/monitor/lag_schedule.rs",
    "crates/buslane-kafka/src/consumer/membership.rs",
    "crates/buslane-nats/src/lease/state.rs",
    "crates/buslane-nats/src/source/open_messages.rs",
];
const IMPURE_WORDS: [&str; 6] =
    ["Instant::now", "SystemTime::now", "now_utc", "std::fs", "std::net", "tokio"];

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

/// Names each listed crate or module that does not exist: such an entry would check nothing.
pub(super) fn missing_pure_code<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> Vec<Finding> {
    let finding = |entry: &str, list: &str| {
        Finding::failure(
            "xtask/src/tidy/rules.rs",
            1,
            "A7",
            format!("{entry} does not exist: correct {list}"),
        )
    };
    let crates = PURE_CRATES
        .iter()
        .filter(|name| !paths.clone().any(|path| crate_of(path) == Some(**name)))
        .map(|name| finding(name, "PURE_CRATES"));
    let modules = PURE_MODULES
        .iter()
        .filter(|module| !paths.clone().any(|path| path == **module))
        .map(|module| finding(module, "PURE_MODULES"));
    crates.chain(modules).collect()
}

/// The crate whose source file this is.
fn crate_of(path: &str) -> Option<&str> {
    let (name, rest) = path.strip_prefix("crates/")?.split_once('/')?;
    rest.starts_with("src/").then_some(name)
}

/// A4: every queue has a bound.
fn unbounded(path: &str, code: &str) -> Vec<Finding> {
    lines_with(code, "unbounded")
        .map(|line| {
            Finding::failure(path, line, "A4", "every queue has a bound: use a bounded one")
        })
        .collect()
}

/// A6: only the config module of the bus reads the environment, the testkit for where its servers
/// listen, and the model of the lanes for how long it is checked.
fn environment(path: &str, code: &str) -> Vec<Finding> {
    if path.starts_with("crates/buslane/src/config")
        || path == "crates/buslane-testkit/src/server.rs"
        || path == "crates/buslane-lanes/src/model/scenarios.rs"
    {
        return Vec::new();
    }
    let advice =
        "only crates/buslane/src/config* reads the environment: take the value as an argument";
    lines_with(code, "env::var").map(|line| Finding::failure(path, line, "A6", advice)).collect()
}

/// A7: pure crates and modules have no clock and no IO.
fn purity(path: &str, code: &str) -> Vec<Finding> {
    let is_pure = PURE_MODULES.contains(&path)
        || crate_of(path).is_some_and(|name| PURE_CRATES.contains(&name));
    if !is_pure {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in production_lines(code) {
        for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
            findings.push(Finding::failure(
                path,
                number,
                "A7",
                format!("pure code must not use `{word}`: take the value as an argument"),
            ));
        }
    }
    findings
}

/// Every source file begins with its documentation.
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

/// Finds words that belong to one machine and say nothing to a reader elsewhere: absolute paths,
/// and the hosts behind a registry. They are built from parts, because this file is checked too.
pub(super) fn machine_words(path: &str, text: &str) -> Vec<Finding> {
    let folders = ["work", "root"].map(|name| format!("/{name}/"));
    let hosts = ["static", "index"].map(|name| format!("{name}.crates{}", ".io"));
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let in_folder = |folder: &&String| {
            line.match_indices(folder.as_str()).any(|(at, _)| is_path_start(&line[..at]))
        };
        let words = folders
            .iter()
            .filter(in_folder)
            .chain(hosts.iter().filter(|host| line.contains(host.as_str())));
        for word in words {
            let advice = format!(
                "`{word}` belongs to one machine: say it without, or relative to the repository"
            );
            findings.push(Finding::failure(path, number + 1, "machine-word", advice));
        }
    }
    findings
}

/// Whether a `/` after this text begins an absolute path rather than going on with a relative one.
fn is_path_start(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')'))
}

#[cfg(test)]
mod tests {
    use super::{PURE_CRATES, PURE_MODULES, check, machine_words, missing_pure_code};

    const ANY: &str = "crates/buslane-keyed/src/pool.rs";
    const PURE: [&str; 2] =
        ["crates/buslane-rollout/src/guard.rs", "crates/buslane-nats/src/lease/state.rs"];

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
    fn a7_pure_crates_and_modules_have_no_clock_and_no_io() {
        for word in [
            "Instant::now()",
            "SystemTime::now()",
            "OffsetDateTime::now_utc()",
            "std::fs::read(x)",
            "use std::net;",
            "tokio::spawn(x)",
        ] {
            let text = format!("//! doc\n{word}\n");
            let in_test = format!("//! {word}\n#[cfg(test)]\nmod tests {{\n    {word}\n}}\n");
            for path in PURE {
                assert_eq!(rules(path, &text), [(2, "A7", false)], "{path} {word}");
                assert!(rules(path, &in_test).is_empty(), "{path} {word}");
            }
            for path in [ANY, "crates/buslane-rollout/tests/guard.rs"] {
                assert!(rules(path, &text).is_empty(), "{path} {word}");
            }
        }
    }

    #[test]
    fn a7_lists_name_what_exists() {
        let crates = PURE_CRATES.map(|name| format!("crates/{name}/src/lib.rs"));
        let modules = PURE_MODULES.map(str::to_owned);
        let all: Vec<_> = crates.iter().chain(&modules).map(String::as_str).collect();
        assert!(missing_pure_code(all.iter().copied()).is_empty());
        for left_out in &all {
            let others = all.iter().copied().filter(|path| path != left_out);
            assert_eq!(missing_pure_code(others).len(), 1, "{left_out}");
        }
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

    #[test]
    fn machine_words_are_found_in_every_file() {
        let path = |name: &str| format!("see /{name}/notes\n");
        for text in [path("work"), path("root"), format!("https://static.crates{}/x\n", ".io")] {
            assert_eq!(machine_words("docs/a.md", &text).len(), 1, "{text}");
        }
        for text in ["frame/work/x", "../root/x", "https://crates.io/x", "/workers/", "~/rooted/"] {
            assert!(machine_words("docs/a.md", text).is_empty(), "{text}");
        }
    }
}
