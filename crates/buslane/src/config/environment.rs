//! What the process tells a configuration: environment variables, and the program's name as the
//! default group.
//!
//! A variable with a backend's prefix wins over the same one with `BUSLANE_` for that backend. A
//! value that cannot be read is an error as soon as its backend is in use.

use super::{ChosenBy, Config, ConfigError, KeyReference, Variables};
use buslane_core::Backend;
use buslane_settings::{BrokenRule, Value as _};
use std::{ffi::OsString, path::Path, sync::OnceLock};

pub(super) const CONFIG_FILE: &str = "BUSLANE_CONFIG";
/// The prefix of the bus's own variables. Those of a backend, such as `KAFKA_…`, belong to other
/// software as well.
const PREFIX: &str = "BUSLANE_";
/// Variables of this project's own tests.
const TESTS: [&str; 2] = ["BUSLANE_TEST_", "BUSLANE_REPLAY_LOG"];
/// Parts of the variables that Kubernetes and Docker set in every process beside a service whose
/// name begins with `buslane`.
const OF_SERVICES: [&str; 3] = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"];
/// The group of a program without a name, or without a character that a group may have.
const NAMELESS: &str = "buslane";
/// A group is a part of other names, so it has a maximum length.
const MAX_GROUP: usize = 100;
/// The suffix that Linux adds to the name of a file that was replaced while the program runs.
const REPLACED: &str = " (deleted)";

/// An environment variable that a configuration reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VariableReference {
    /// Its name.
    pub name: &'static str,
    /// Its allowed values.
    pub kind: String,
    /// The key that it sets.
    pub sets: String,
}

/// Every variable that a configuration reads; those of the bus come first.
pub(super) fn variables() -> Vec<VariableReference> {
    let kind = "path of a file".to_owned();
    let sets = "the file that is read first".to_owned();
    let mut list = vec![VariableReference { name: CONFIG_FILE, kind, sets }];
    for KeyReference { key, kind, variables, .. } in Config::reference() {
        let is_switch = kind == "`true` or `false`";
        let kind = if is_switch { "`true`, `false`, `1` or `0`".to_owned() } else { kind };
        for name in variables {
            let sets = match key.split_once(".actor_pool.") {
                Some((_, key)) if name.starts_with("BUSLANE_") => {
                    format!("`actor_pool.{key}` of every backend")
                }
                _ => format!("`{key}`"),
            };
            if list.iter().all(|other| other.name != name) {
                list.push(VariableReference { name, kind: kind.clone(), sets });
            }
        }
    }
    list.sort_by_key(|variable| !variable.name.starts_with("BUSLANE_"));
    list
}

/// A variable of this process.
#[allow(clippy::disallowed_methods, reason = "this file alone reads the environment")]
pub(super) fn process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The names of all variables of this process.
#[allow(clippy::disallowed_methods, reason = "this file alone reads the environment")]
pub(super) fn process_names() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name)
}

/// The file that `BUSLANE_CONFIG` names. Its name need not be Unicode.
pub(super) fn config_file(variables: Variables<'_>) -> Result<Option<OsString>, ConfigError> {
    match variables(CONFIG_FILE) {
        Some(path) if path.is_empty() => Err(ConfigError::Variable {
            name: CONFIG_FILE,
            rule: "must name a file".to_owned(),
            found: "\"\"".to_owned(),
        }),
        path => Ok(path),
    }
}

/// Overlays `config` with the variables.
pub(super) fn apply(config: &mut Config, variables: Variables<'_>) -> Result<(), ConfigError> {
    let mut unreadable = Vec::new();
    for setting in Config::reference() {
        for name in setting.variables.into_iter().rev() {
            let result = overlay(config, &setting.key, name, variables);
            match (result, backend_of(name)) {
                (Ok(()), _) => {}
                (Err(error), Some(backend)) => unreadable.push((backend, error)),
                (Err(error), None) => return Err(error),
            }
        }
    }
    config.origins.set_unreadable(unreadable);
    Ok(())
}

/// The backend whose prefix the variable has.
fn backend_of(name: &str) -> Option<Backend> {
    let prefix = name.split('_').next().unwrap_or_default();
    [Backend::Memory, Backend::Kafka, Backend::Nats]
        .into_iter()
        .find(|backend| backend.as_str().eq_ignore_ascii_case(prefix))
}

fn overlay(
    config: &mut Config,
    key: &str,
    name: &'static str,
    variables: Variables<'_>,
) -> Result<(), ConfigError> {
    let Some(text) = lookup(variables, name)? else { return Ok(()) };
    config.set(key, &text).map_err(|BrokenRule { rule, found, .. }| ConfigError::Variable {
        name,
        rule,
        found,
    })?;
    config.record(key, ChosenBy::Environment(name));
    Ok(())
}

fn lookup(variables: Variables<'_>, name: &'static str) -> Result<Option<String>, ConfigError> {
    match variables(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(ConfigError::Variable {
            name,
            rule: "must be Unicode".to_owned(),
            found: "bytes that are not UTF-8".to_owned(),
        }),
    }
}

/// Refuses the first unknown name with the prefix of the bus: a mistyped switch would be off.
pub(super) fn check_names(names: impl Iterator<Item = OsString>) -> Result<(), ConfigError> {
    let known: Vec<_> = variables().into_iter().map(|variable| variable.name).collect();
    let mut unknown: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| {
            name.starts_with(PREFIX) && !known.contains(&name.as_str()) && !is_of_others(name)
        })
        .collect();
    // The environment has no order.
    unknown.sort();
    let Some(name) = unknown.into_iter().next() else { return Ok(()) };
    let ours = known.into_iter().filter(|known| known.starts_with(PREFIX));
    let nearest = ours.min_by_key(|known| distance(&name, known)).unwrap_or_default();
    Err(ConfigError::UnknownVariable { name, nearest })
}

fn is_of_others(name: &str) -> bool {
    TESTS.iter().any(|tests| name.starts_with(tests))
        || name.ends_with("_PORT")
        || OF_SERVICES.iter().any(|part| name.contains(part))
}

/// Letters to change, add or remove to turn one name into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, wanted) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// The default group: the name of this program. It does not change while the program runs.
pub(super) fn default_group() -> String {
    static GROUP: OnceLock<String> = OnceLock::new();
    GROUP.get_or_init(|| group_of(std::env::current_exe().ok().as_deref())).clone()
}

/// A file name as a group: everything but ASCII letters, digits, `.`, `_` and `-` becomes `-`.
fn group_of(program: Option<&Path>) -> String {
    let file = program
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let file = file.strip_suffix(REPLACED).unwrap_or(&file);
    let file = file.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(file);
    let is_allowed =
        |letter: char| letter.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&letter);
    let group: String = file
        .chars()
        .map(|letter| if is_allowed(letter) { letter } else { '-' })
        .take(MAX_GROUP)
        .collect();
    match group.trim_matches(['-', '.']) {
        "" => NAMELESS.to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> Result<(), String> {
        check_names(names.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn s1_a_mistyped_variable_is_refused_with_the_nearest_name() {
        for (name, nearest) in [
            ("BUSLANE_USE_ACTORPOOL", "BUSLANE_USE_ACTOR_POOL"),
            ("BUSLANE_USE_ACTOR_POOLS", "BUSLANE_USE_ACTOR_POOL"),
            ("BUSLANE_GROUP_ID", "BUSLANE_GROUP"),
            ("BUSLANE_RUL", "BUSLANE_URL"),
            ("BUSLANE_url", "BUSLANE_URL"),
            ("BUSLANE_ACTOR_INBOX", "BUSLANE_ACTOR_INBOX_SIZE"),
        ] {
            let error = checked(&["PATH", "BUSLANE_URL", name]).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "environment variable {name} is not known; the nearest name that is: {nearest}"
                )
            );
        }
    }

    #[test]
    fn s1_variables_of_others_are_left_alone() {
        let known: Vec<_> = variables().into_iter().map(|variable| variable.name).collect();
        assert_eq!(checked(&known), Ok(()));
        assert_eq!(
            checked(&[
                "KAFKA_USE_ACTORPOOL",
                "NATS_URL",
                "MEMORY_LIMIT",
                "BUSLANES",
                "buslane_url"
            ]),
            Ok(())
        );
        assert_eq!(
            checked(&["BUSLANE_TEST_KAFKA_TLS", "BUSLANE_TEST_XTASK", "BUSLANE_REPLAY_LOG"]),
            Ok(())
        );
        assert_eq!(
            checked(&[
                "BUSLANE_SERVICE_HOST",
                "BUSLANE_PORT",
                "BUSLANE_PORT_80_TCP_ADDR",
                "BUSLANE_API_SERVICE_PORT_HTTP"
            ]),
            Ok(())
        );
    }

    #[test]
    fn inv_the_distance_counts_single_letters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(
                (distance(one, other), distance(other, one)),
                (expected, expected),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn s1_the_group_is_the_name_of_the_program() {
        for (program, expected) in [
            ("/usr/bin/order-service", "order-service"),
            // Two programs of one system stay apart.
            ("billing.api", "billing.api"),
            ("billing.worker", "billing.worker"),
            ("/opt/shop/orders (deleted)", "orders"),
            ("my service@2", "my-service-2"),
            ("/opt/größe", "gr--e"),
            ("/", "buslane"),
            ("@@", "buslane"),
            ("..a..", "a"),
        ] {
            assert_eq!(group_of(Some(Path::new(program))), expected, "{program}");
        }
        assert_eq!(group_of(None), "buslane");
        assert_eq!(group_of(Some(Path::new(&"x".repeat(300)))).len(), MAX_GROUP);
        assert_eq!(default_group(), group_of(std::env::current_exe().ok().as_deref()));
    }
}
