//! The requirement ids: the tests that prove each of them, and whether `docs/semantics.md` and the
//! tests agree.
//!
//! A test claims an id by its name (`fn p3_full_pool_…`), or by a comment `SPEC: P3, P4` above it
//! or in its first line; a bench or a scenario file may claim one in its module documentation.
//! Whether a test proves its claim is for the reviewer to judge. Reads text, not syntax: a test
//! that a macro writes counts only where it stands in the macro's input as a function.

use std::collections::BTreeMap;

use xtask_base::table;

use super::code::code_only;
use super::{Finding, TextFile};

const PAGE: &str = "docs/semantics.md";
/// The families of ids in the order of the specification, and how many ids each has.
const FAMILIES: [(char, u32); 13] = [
    ('E', 6),
    ('R', 4),
    ('P', 11),
    ('S', 7),
    ('D', 7),
    ('B', 9),
    ('K', 8),
    ('N', 6),
    ('M', 2),
    ('L', 4),
    ('O', 6),
    ('Q', 7),
    ('T', 5),
];
/// A larger number is no id: `fn p99_micros` and `fn b64_decode` mean something else.
const LARGEST_NUMBER: u32 = 19;

/// The printed list, and the findings.
pub(super) struct Report {
    pub(super) list: String,
    pub(super) findings: Vec<Finding>,
}

/// A row of the table: id, what, state.
struct Row {
    id: String,
    is_done: bool,
    line: usize,
}

/// Checks the page against all tests of the repository.
pub(super) fn check(files: &[TextFile]) -> Report {
    let mut claims = Vec::new();
    for file in files {
        if let Some(room) = Room::of(&file.path) {
            claims.extend(
                claims_in(&file.path, &file.text, room)
                    .into_iter()
                    .map(|claim| (file.path.as_str(), claim)),
            );
        }
    }
    match files.iter().find(|file| file.path == PAGE) {
        Some(page) => compare(&page.text, &claims),
        None => {
            let finding = Finding::failure(
                PAGE,
                1,
                "spec",
                "write the table `id | what | state` with a row for every id",
            );
            Report { list: String::new(), findings: vec![finding] }
        }
    }
}

fn compare(page: &str, claims: &[(&str, Claim)]) -> Report {
    let (rows, mut findings) = rows_of(page);
    let mut proofs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, claim) in claims {
        proofs.entry(&claim.id).or_default().push(&claim.test);
        if !rows.iter().any(|row| row.id == claim.id) {
            findings.push(Finding::failure(
                path,
                claim.line,
                "spec",
                format!("`{}` claims {}, which {PAGE} does not list", claim.test, claim.id),
            ));
        }
    }
    let mut lines = Vec::new();
    for id in known_ids() {
        let tests = proofs.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        let state = match rows.iter().find(|row| row.id == id) {
            None => {
                findings.push(Finding::failure(
                    PAGE,
                    1,
                    "spec",
                    format!("{id} is missing: add its row"),
                ));
                "missing"
            }
            Some(row) if row.is_done && tests.is_empty() => {
                let advice = format!(
                    "{id} is done but no test carries its id: write `fn {}_…`, or mark it planned",
                    id.to_lowercase()
                );
                findings.push(Finding::failure(PAGE, row.line, "spec", advice));
                "done"
            }
            Some(row) => {
                if row.is_done {
                    "done"
                } else {
                    "planned"
                }
            }
        };
        lines.push(vec![
            format!("{id:<4} {state}"),
            tests.len().to_string(),
            tests.first().copied().unwrap_or("-").to_owned(),
        ]);
    }
    Report { list: table::render(&["id", "tests", "one of them"], &lines), findings }
}

fn known_ids() -> impl Iterator<Item = String> {
    FAMILIES
        .into_iter()
        .flat_map(|(family, count)| (1..=count).map(move |number| format!("{family}{number}")))
}

/// Reads the table; rows of other tables (first cell no id) are passed by.
fn rows_of(page: &str) -> (Vec<Row>, Vec<Finding>) {
    let mut rows: Vec<Row> = Vec::new();
    let mut findings = Vec::new();
    for (at, line) in page.lines().enumerate() {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim_matches([' ', '*', '`']))
            .collect();
        let Some(id) = line.starts_with('|').then(|| id_of(cells[0])).flatten() else {
            continue;
        };
        let mut fail =
            |advice: String| findings.push(Finding::failure(PAGE, at + 1, "spec", advice));
        let state = cells.last().copied().unwrap_or_default();
        if cells.len() < 3 || !matches!(state, "done" | "planned") {
            fail(format!(
                "the row of {id} must be `id | what | state`, with the state `done` or `planned`"
            ));
        }
        if !known_ids().any(|known| known == id) {
            fail(format!(
                "{id} is no id of the specification: correct it, or add it to xtask/src/tidy/spec.rs"
            ));
        }
        if rows.iter().any(|row| row.id == id) {
            fail(format!("{id} has two rows: keep one"));
        }
        rows.push(Row { id, is_done: state == "done", line: at + 1 });
    }
    (rows, findings)
}

/// An id of a known family, whether or not the family has this number.
pub(super) fn id_of(word: &str) -> Option<String> {
    let mut chars = word.chars();
    let family = chars.next()?;
    let digits = chars.as_str();
    let number: u32 = digits.parse().ok()?;
    let is_id = FAMILIES.iter().any(|(known, _)| *known == family)
        && (1..=LARGEST_NUMBER).contains(&number)
        && digits == number.to_string();
    is_id.then(|| word.to_owned())
}

/// A test that says which id it proves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: String,
    pub(super) test: String,
    pub(super) line: usize,
}

/// The functions of a file that count as tests, by the file's folder.
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
    use super::{Claim, Room, claims_in, compare, known_ids};

    fn page(change: impl Fn(&str) -> Option<String>) -> String {
        let row =
            |id: String| change(&id).unwrap_or_else(|| format!("| **{id}** | what | planned |\n"));
        "# x\n\n| id | what | state |\n|---|---|---|\n".to_owned()
            + &known_ids().map(row).collect::<String>()
    }

    fn advice(page: &str, claims: &[(&str, &str)]) -> Vec<String> {
        let claim = |(id, test): &(&str, &str)| {
            ("t.rs", Claim { id: (*id).to_owned(), test: (*test).to_owned(), line: 3 })
        };
        let claims: Vec<(&str, Claim)> = claims.iter().map(claim).collect();
        compare(page, &claims)
            .findings
            .into_iter()
            .map(|finding| format!("{}:{} {}", finding.path, finding.line, finding.advice))
            .collect()
    }

    #[test]
    fn a_done_id_has_a_test() {
        let done = page(|id| (id == "P3").then(|| "| P3 | what | done |\n".to_owned()));
        assert!(advice(&done, &[("P3", "p3_x")]).is_empty());
        assert_eq!(advice(&done, &[]).len(), 1);
        assert!(advice(&done, &[])[0].contains("P3 is done but no test"));
        assert!(
            advice(&page(|_| None), &[("P4", "p4_early")]).is_empty(),
            "a planned id may have tests"
        );
    }

    #[test]
    fn page_and_tests_know_the_same_ids() {
        let missing = page(|id| (id == "K8").then(String::new));
        assert_eq!(advice(&missing, &[]), ["docs/semantics.md:1 K8 is missing: add its row"]);
        assert!(
            advice(&page(|_| None), &[("P12", "p12_x")])[0]
                .starts_with("t.rs:3 `p12_x` claims P12")
        );
    }

    #[test]
    fn rows_are_well_formed() {
        for (row, complaint) in [
            ("| P3 | what | soon |\n", "state"),
            ("| P3 | done |\n", "state"),
            ("| P3 | a | planned |\n| P12 | b | planned |\n", "no id"),
            ("| P3 | a | planned |\n| P3 | b | planned |\n", "two rows"),
        ] {
            let broken = page(|id| (id == "P3").then(|| row.to_owned()));
            assert!(advice(&broken, &[("P3", "p3_x")])[0].contains(complaint), "{row}");
        }
    }

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
