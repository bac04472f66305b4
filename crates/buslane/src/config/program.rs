//! The name of the program, which is the group that it reads as unless it is told another one.

use std::{path::Path, sync::OnceLock};

/// The group of a program whose name is not known, or has no character that a group may have.
const NAMELESS: &str = "buslane";
/// Longest name: a group is a part of other names.
const LONGEST: usize = 100;
/// What the system puts behind the name of a file that was replaced while the program runs.
const REPLACED: &str = " (deleted)";

/// The group of this program; the same for as long as it runs.
pub(super) fn group() -> String {
    static GROUP: OnceLock<String> = OnceLock::new();
    GROUP.get_or_init(|| name(std::env::current_exe().ok().as_deref())).clone()
}

/// The name of a file as a group: what stands there beside ASCII letters, digits, `.`, `_` and `-`
/// becomes `-`.
fn name(program: Option<&Path>) -> String {
    let file = program
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let file = file.strip_suffix(REPLACED).unwrap_or(&file);
    let file = file.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(file);
    let may_stand =
        |letter: char| letter.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&letter);
    let group: String = file
        .chars()
        .map(|letter| if may_stand(letter) { letter } else { '-' })
        .take(LONGEST)
        .collect();
    match group.trim_matches(['-', '.']) {
        "" => NAMELESS.to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(name(Some(Path::new(program))), expected, "{program}");
        }
        assert_eq!(name(None), "buslane");
        assert_eq!(name(Some(Path::new(&"x".repeat(300)))).len(), LONGEST);
        assert_eq!(group(), name(std::env::current_exe().ok().as_deref()));
    }
}
