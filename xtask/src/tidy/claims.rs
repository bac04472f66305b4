//! Which requirement ids the tests of a file claim: by name (`fn p3_full_pool_…`), or by a comment
//! `SPEC: P3, P4` above the test or in its first line. A bench or a scenario file may say it in its
//! module documentation.
//!
//! Reads text, not syntax: a test that a macro writes is not seen, unless it stands in the macro's
//! input as a function.

use super::code::code_only;
use super::spec::id_of;

/// A test that says which id it proves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: String,
    pub(super) test: String,
    pub(super) line: usize,
}

/// What counts as a test in a file, by where the file is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Functions with a test attribute.
    Crate,
    /// Every function: scenarios of the suites and benches are called by others.
    Scenarios,
}

impl Room {
    pub(super) fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_suffix(".rs")?.split('/').collect();
        match parts.as_slice() {
            ["crates", "buslane-testkit" | "buslane-bus-suite", "src", ..]
            | ["benches", ..]
            | ["crates", _, "benches", ..] => Some(Self::Scenarios),
            ["crates", _, "src" | "tests", ..] | ["xtask", "chaos", "src", ..] => Some(Self::Crate),
            _ => None,
        }
    }
}

/// Every claim of the tests in a file.
pub(super) fn claims_in(path: &str, text: &str, room: Room) -> Vec<Claim> {
    let code = code_only(text);
    let (raw, code): (Vec<&str>, Vec<&str>) =
        (text.lines().map(str::trim).collect(), code.lines().collect());
    let mut claims = Vec::new();
    let mut claim = |ids: Vec<String>, test: &str, line: usize| {
        claims.extend(ids.into_iter().map(|id| Claim { id, test: test.to_owned(), line }));
    };
    for (at, line) in code.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let above = lines_above(&raw, at);
        let is_attribute =
            |line: &&str| line.contains("#[") && line.replace("cfg(test)", "").contains("test");
        if room == Room::Crate && !above.iter().chain([&raw[at]]).any(is_attribute) {
            continue;
        }
        let mut ids: Vec<String> = name
            .split_once('_')
            .and_then(|(start, _)| id_of(&start.to_uppercase()))
            .into_iter()
            .collect();
        let body = code[at..]
            .iter()
            .position(|line| line.trim_end().ends_with('{'))
            .map_or(at, |length| at + length + 1);
        for comment in above
            .iter()
            .chain(raw.get(body))
            .filter(|line| line.starts_with("//") && !line.starts_with("//!"))
        {
            ids.extend(ids_in_comment(comment));
        }
        ids.sort_unstable();
        ids.dedup();
        claim(ids, name, at + 1);
    }
    if room == Room::Scenarios {
        for (at, line) in raw.iter().enumerate().filter(|(_, line)| line.starts_with("//!")) {
            claim(ids_in_comment(line), path, at + 1);
        }
    }
    claims
}

/// Attributes and comments directly above a line.
fn lines_above<'a>(raw: &[&'a str], at: usize) -> Vec<&'a str> {
    let ends_an_item = |line: &str| {
        line.is_empty() || (!line.starts_with(['#', '/']) && line.ends_with(['{', '}', ';']))
    };
    raw[..at].iter().rev().copied().take_while(|line| !ends_an_item(line)).collect()
}

/// `p3_full_pool` of `    async fn p3_full_pool() {`.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_word = before.is_empty() || before.ends_with([' ', ']']);
    let name = after.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    (is_word && !name.is_empty()).then_some(name)
}

/// The ids after `SPEC:` up to the first word that is none. A number too large is kept: it is
/// reported as unknown.
fn ids_in_comment(comment: &str) -> Vec<String> {
    let Some((_, list)) = comment.split_once("SPEC:") else {
        return Vec::new();
    };
    let words = list.split([' ', ',', '.', ';', ')']).filter(|word| !word.is_empty());
    words.map_while(id_of).collect()
}

#[cfg(test)]
mod tests {
    use super::{Room, claims_in};

    fn claimed(text: &str, room: Room) -> Vec<(String, String)> {
        claims_in("a.rs", text, room).into_iter().map(|claim| (claim.id, claim.test)).collect()
    }

    fn pair(id: &str, test: &str) -> (String, String) {
        (id.to_owned(), test.to_owned())
    }

    #[test]
    fn tests_claim_ids_by_name() {
        let text = "#[test]\nfn p3_full() {}\n\nfn p4_helper() {}\n\n#[tokio::test(flavor = \"x\")]\n// why\nasync fn d11_x() {\n}\n\
            #[cfg(test)]\nfn e1_helper() {}\n#[test]\nfn p99_micros() {}\n#[test]\nfn inv_t1_x() {}\n// #[test] fn k1_x() {}\n";
        assert_eq!(claimed(text, Room::Crate), [pair("P3", "p3_full"), pair("D11", "d11_x")]);
        assert_eq!(
            claimed("pub async fn p4_scenario(\n) {\n}\n", Room::Scenarios),
            [pair("P4", "p4_scenario")]
        );
    }

    #[test]
    fn tests_claim_ids_by_comment() {
        let above = "/// Long text. SPEC: P3, P4 (both)\n#[test]\nfn both() {}\n";
        assert_eq!(claimed(above, Room::Crate), [pair("P3", "both"), pair("P4", "both")]);
        let inside = "#[test]\nfn inside(\n) {\n    // SPEC: S1.\n    x();\n    // SPEC: S2\n}\n";
        assert_eq!(claimed(inside, Room::Crate), [pair("S1", "inside")]);
        assert_eq!(claimed("//! SPEC: T1\nfn main() {}\n", Room::Scenarios), [pair("T1", "a.rs")]);
        assert!(claimed("//! SPEC: T1\nfn main() {}\n", Room::Crate).is_empty());
    }
}
