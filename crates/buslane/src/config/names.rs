//! Variables that begin as those of the bus do and are none of them: a mistyped switch must not be
//! a switch that is off.

use super::{ConfigError, reference};
use std::ffi::OsString;

/// How the names of the bus's own variables begin. Those of a backend, such as `KAFKA_…`, belong to
/// other software as well.
const OURS: &str = "BUSLANE_";
/// Variables of this project's own tests.
const TESTS: [&str; 2] = ["BUSLANE_TEST_", "BUSLANE_REPLAY_LOG"];
/// What Kubernetes and Docker set in every process beside a service whose name begins with
/// `buslane`.
const OF_SERVICES: [&str; 3] = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"];

/// Refuses the first name that begins as the bus's own do and is none of them.
pub(super) fn check(names: impl Iterator<Item = OsString>) -> Result<(), ConfigError> {
    let known: Vec<_> = reference::variables().into_iter().map(|variable| variable.name).collect();
    let mut unknown: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| {
            name.starts_with(OURS) && !known.contains(&name.as_str()) && !is_of_others(name)
        })
        .collect();
    // The order of the environment is none.
    unknown.sort();
    let Some(name) = unknown.into_iter().next() else { return Ok(()) };
    let ours = known.into_iter().filter(|known| known.starts_with(OURS));
    let nearest = ours.min_by_key(|known| distance(&name, known)).unwrap_or_default();
    Err(ConfigError::UnknownVariable { name, nearest })
}

fn is_of_others(name: &str) -> bool {
    TESTS.iter().any(|tests| name.starts_with(tests))
        || name.ends_with("_PORT")
        || OF_SERVICES.iter().any(|part| name.contains(part))
}

/// How many letters have to be changed, added or taken away to make one of the other.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> Result<(), String> {
        check(names.iter().map(OsString::from)).map_err(|error| error.to_string())
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
        let known: Vec<_> =
            reference::variables().into_iter().map(|variable| variable.name).collect();
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
}
