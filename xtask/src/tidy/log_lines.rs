//! The rule about log lines: `docs/operations.md` lists each line that a broker writes at `info` or
//! above, and no other.

use std::collections::BTreeMap;

use super::code::code_only;
use super::{Finding, TextFile};

const PAGE: &str = "docs/operations.md";

/// The sources of each broker, and the heading of its table. A broker without a line needs no
/// table.
const BROKERS: [(&str, &str); 3] = [
    ("crates/buslane-kafka/src/", "### Lines of Kafka"),
    ("crates/buslane-nats/src/", "### Lines of NATS"),
    ("crates/buslane-memory/src/", "### Lines of the embedded broker"),
];

const LEVELS: [&str; 3] = ["error", "warn", "info"];

/// Log lines, each a level and a text, with the file and the line of the first place.
type Lines = BTreeMap<(String, String), (String, usize)>;

/// Compares the tables with the sources.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let page = files.iter().find(|file| file.path == PAGE).map_or("", |file| file.text.as_str());
    BROKERS
        .iter()
        .flat_map(|(folder, heading)| {
            compare(&written(files, folder), &listed(page, heading), heading)
        })
        .collect()
}

fn compare(written: &Lines, listed: &Lines, heading: &str) -> Vec<Finding> {
    let only_in = |these: &Lines, those: &Lines, advice: &dyn Fn(&str, &str) -> String| {
        let missing = these.iter().filter(|(line, _)| !those.contains_key(*line));
        missing
            .map(|((level, text), (path, at))| {
                Finding::failure(path, *at, "log-lines", advice(level, text))
            })
            .collect::<Vec<_>>()
    };
    let mut findings = only_in(written, listed, &|level, text| {
        format!("list {level} `{text}` in {PAGE} below `{heading}`: what it means, what to do")
    });
    findings.extend(only_in(listed, written, &|level, text| {
        format!("no broker writes {level} `{text}` any more: remove the row")
    }));
    findings
}

/// The lines that the sources of a folder write.
fn written(files: &[TextFile], folder: &str) -> Lines {
    let mut lines = Lines::new();
    for file in files.iter().filter(|file| file.path.starts_with(folder)) {
        for (at, level, text) in calls(&file.text) {
            lines.entry((level.to_owned(), text)).or_insert_with(|| (file.path.clone(), at));
        }
    }
    lines
}

/// The calls of logging macros: the line, the level, and the last literal, which is the text.
fn calls(source: &str) -> Vec<(usize, &'static str, String)> {
    let (source, code): (Vec<char>, Vec<char>) =
        (source.chars().collect(), code_only(source).chars().collect());
    let mut found = Vec::new();
    for level in LEVELS {
        let name: Vec<char> = format!("{level}!(").chars().collect();
        for start in 0..code.len() {
            let is_whole = !start
                .checked_sub(1)
                .is_some_and(|at| code[at].is_alphanumeric() || code[at] == '_');
            if !is_whole || !code[start..].starts_with(&name) {
                continue;
            }
            let end = end_of_call(&code, start + name.len());
            let call: String = source[start..end].iter().collect();
            let text = call.rsplit('"').nth(1).unwrap_or_default().to_owned();
            let at = 1 + source[..start].iter().filter(|&&c| c == '\n').count();
            found.push((at, level, text));
        }
    }
    found
}

/// The end of a call whose arguments begin at `start`.
fn end_of_call(code: &[char], start: usize) -> usize {
    let mut depth = 1;
    for (at, c) in code.iter().enumerate().skip(start) {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// The lines of the table below a heading: its first column has levels, its second a text.
fn listed(page: &str, heading: &str) -> Lines {
    let numbered = page.lines().enumerate().skip_while(|(_, line)| *line != heading).skip(1);
    let rows = numbered.take_while(|(_, line)| !line.starts_with('#'));
    let mut lines = Lines::new();
    for (at, row) in rows {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (Some(levels), Some(text)) = (cells.next(), cells.next()) else { continue };
        let Some(text) = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')) else {
            continue;
        };
        for level in levels.split(", ") {
            let line = (level.to_owned(), text.to_owned());
            lines.insert(line, (PAGE.to_owned(), at + 1));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{BROKERS, PAGE, TextFile, calls, check};

    #[test]
    fn a_line_is_the_last_literal_of_its_call() {
        let source = "fn f() {\n    // warn!(\"no\")\n    tracing::warn!(topic = f(\"a\"), \"gone\");\n    \
                      debug!(\"no\");\n    info!(\n        at,\n        \"back (again)\"\n    );\n    my_error!(\"no\");\n}\n";
        let found = calls(source);
        let expected = [(3, "warn", "gone".to_owned()), (5, "info", "back (again)".to_owned())];
        assert_eq!(found, expected);
    }

    fn findings(source: &str, rows: &str) -> Vec<(String, usize)> {
        let (folder, heading) = BROKERS[0];
        let page =
            format!("# Operations\n\n{heading}\n\n| level | text |\n|---|---|\n{rows}\n## Next\n");
        let file =
            |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
        let files = [file(&format!("{folder}a.rs"), source), file(PAGE, &page)];
        check(&files).into_iter().map(|finding| (finding.path, finding.line)).collect()
    }

    #[test]
    fn a_line_that_is_missing_on_either_side_is_found() {
        let source = "warn!(\"gone\");\nerror!(\"gone\");\ninfo!(\"back\");\n";
        assert_eq!(findings(source, "| warn, error | `gone` | it is |\n| info | `back` | |"), []);
        let in_source = |line| ("crates/buslane-kafka/src/a.rs".to_owned(), line);
        let on_page = |line| (PAGE.to_owned(), line);
        assert_eq!(findings(source, "| warn | `gone` |\n| info | `back` |"), [in_source(2)]);
        assert_eq!(findings(source, "| warn, error | `gone` |"), [in_source(3)]);
        assert_eq!(findings("", "| warn | `gone` |"), [on_page(7)]);
        assert_eq!(findings(source, ""), [in_source(2), in_source(3), in_source(1)]);
    }
}
