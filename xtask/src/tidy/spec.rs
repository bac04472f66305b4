//! The requirement ids: which tests prove which id, and whether `docs/semantics.md` and the tests
//! agree.
//!
//! What a test claims is read in `claims.rs`. Whether it proves what it claims is for its reviewer
//! to say.

use std::collections::BTreeMap;

use super::claims::{Claim, Room, claims_in};
use super::{Finding, TextFile};
use xtask_base::table;

const PAGE: &str = "docs/semantics.md";
/// The families of ids in the order of the specification, and how many ids each has.
const FAMILIES: [(char, u32); 12] = [
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
    ('T', 5),
];
/// A larger number is no id: `fn p99_micros` and `fn b64_decode` mean something else.
const LARGEST_NUMBER: u32 = 19;

/// The list for people, and what is wrong.
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

#[cfg(test)]
mod tests {
    use super::{Claim, compare, known_ids};

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
}
