//! The width of prose: comments of Rust files and paragraphs of pages have at most 100 columns.
//!
//! Code is rustfmt's, which leaves comments as they are. What cannot be wrapped is let pass:
//! tables, code blocks, lines with a link, pages that are generated.

use super::Finding;

const MOST: usize = 100;

/// Checks one file of the repository.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let is_prose: fn(&str) -> bool = match path.rsplit_once('.') {
        Some((_, "rs")) => |line| line.starts_with("//") && !comment(line).starts_with('|'),
        Some((_, "md")) if !text.starts_with("<!-- Generated") => |line| !line.starts_with('|'),
        _ => return Vec::new(),
    };
    let (mut findings, mut is_code) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if comment(trimmed).starts_with("```") {
            is_code = !is_code;
            continue;
        }
        // A comment's code block ends with the comment.
        is_code &= path.ends_with(".md") || trimmed.starts_with("//");
        let columns = line.chars().count();
        if columns > MOST && !is_code && is_prose(trimmed) && !has_link(trimmed) {
            let advice = format!("{columns} columns: wrap prose at {MOST}");
            findings.push(Finding::failure(path, at + 1, "columns", advice));
        }
    }
    findings
}

/// The text of a comment; a line of a page as it is.
fn comment(line: &str) -> &str {
    line.trim_start_matches(['/', '!']).trim_start()
}

fn has_link(line: &str) -> bool {
    let is_definition = comment(line).starts_with('[') && line.contains("]: ");
    is_definition || ["](", "http://", "https://", "src="].iter().any(|mark| line.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::check;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, text).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn prose_has_at_most_a_hundred_columns() {
        let (fits, long) = ("é".repeat(97), "é".repeat(98));
        assert!(lines("a.rs", &format!("// {fits}\n")).is_empty());
        assert_eq!(lines("a.rs", &format!("fn f() {{}}\n// {long}\n    //! {fits}\n")), [2, 3]);
        assert_eq!(lines("a.md", &format!("{fits}\n   {long}\n")), [2]);
        assert!(lines("a.toml", &format!("# {long}\n")).is_empty());
    }

    #[test]
    fn what_cannot_be_wrapped_passes() {
        let long = "x".repeat(120);
        for text in [
            format!("| {long} |\n"),
            format!("```sh\n{long}\n```\n"),
            format!("see [it](https://example.com/{long})\n"),
            format!("<!-- Generated: by a command -->\n\n{long}\n"),
        ] {
            assert!(lines("docs/a.md", &text).is_empty(), "{text}");
        }
        for text in [
            format!("let x = \"{long}\"; // code\n"),
            format!("/// | {long} |\n"),
            format!("/// ```\n/// {long}\n/// ```\n"),
            format!("// <https://example.com/{long}>\n"),
        ] {
            assert!(lines("src/a.rs", &text).is_empty(), "{text}");
        }
        let open = format!("/// ```\n/// x\nfn f() {{}}\n// {long}\n");
        assert_eq!(lines("src/a.rs", &open), [4]);
    }
}
