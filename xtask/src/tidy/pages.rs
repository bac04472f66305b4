//! Rules about prose. Each README of a library shows a Rust example, and the crate runs it as a
//! doctest. Comments and paragraphs have at most 100 columns. Each link between pages names a file,
//! and a heading, that exist. The book's summary lists every page of `docs/` once.
//!
//! Whether an example compiles is for `cargo test` to say. Other sites are not asked: these checks
//! need no network. Code is rustfmt's, which leaves comments as they are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, TextFile};
use crate::docs::{SUMMARY, is_page as is_in_book};
use crate::markdown::{anchors, is_external, links, resolve};

/// Checks the README and the library root of every crate below `crates/`.
pub(super) fn readmes(files: &[TextFile]) -> Vec<Finding> {
    let text_of =
        |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let is_manifest = |path: &str| {
        path.starts_with("crates/") && path.ends_with("/Cargo.toml") && path.split('/').count() == 3
    };
    let mut findings = Vec::new();
    for manifest in files.iter().map(|file| file.path.as_str()).filter(|path| is_manifest(path)) {
        let folder = manifest.trim_end_matches("/Cargo.toml");
        let (readme, library) = (format!("{folder}/README.md"), format!("{folder}/src/lib.rs"));
        // A program has no example to copy from; `--help` is its page.
        if let Some(text) = text_of(&library) {
            findings.extend(readme_example(&readme, text_of(&readme)));
            findings.extend(readme_doctest(&library, text));
        }
    }
    findings
}

fn readme_example(path: &str, text: Option<&str>) -> Option<Finding> {
    let Some(text) = text else {
        return Some(Finding::failure(
            path,
            1,
            "readme",
            "write a README: what the crate is, what it is not, an example",
        ));
    };
    let is_example = |line: &str| {
        let info = line.trim().strip_prefix("```").unwrap_or_default();
        let mut words = info.split(',').map(str::trim);
        words.next() == Some("rust") && !words.any(|word| word.starts_with("ignore"))
    };
    let has_example = text.lines().any(is_example);
    (!has_example).then(|| {
        Finding::failure(path, 1, "readme", "add an example in a ```rust block (not `ignore`)")
    })
}

fn readme_doctest(path: &str, text: &str) -> Option<Finding> {
    let is_include = |line: &str| {
        !line.trim_start().starts_with("//")
            && line.contains("doc = include_str!(\"../README.md\")")
    };
    let advice = "run the README as a doctest: `#![doc = include_str!(\"../README.md\")]`";
    (!text.lines().any(is_include)).then(|| Finding::failure(path, 1, "readme", advice))
}

/// Columns of prose.
const MOST: usize = 100;

/// Checks the width of prose in one file. What cannot be wrapped passes: tables, code blocks, lines
/// with a link, generated pages.
pub(super) fn columns(path: &str, text: &str) -> Vec<Finding> {
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

/// Checks the links of every Markdown file. `paths` are all its files, also those that are no
/// text.
pub(super) fn link_targets(files: &[TextFile], paths: &[String]) -> Vec<Finding> {
    // The template of a generated page has the links of that page, which is checked itself.
    let is_page = |path: &str| path.ends_with(".md") && !path.contains("/src/");
    let pages: Vec<&TextFile> = files.iter().filter(|file| is_page(&file.path)).collect();
    let headings: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), anchors(&page.text))).collect();
    let exists = |path: &str| {
        path.is_empty()
            || paths.iter().any(|found| {
                found
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    };
    let mut findings = Vec::new();
    for page in &pages {
        for link in links(&page.text) {
            let target = &page.text[link.target];
            if is_external(target) {
                continue;
            }
            let mut fail = |advice| {
                findings.push(Finding::failure(&page.path, link.line, "links", advice));
            };
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path =
                if file.is_empty() { Some(page.path.clone()) } else { resolve(&page.path, file) };
            match path.filter(|path| exists(path)) {
                None => fail(format!("`{target}` names no file of the repository")),
                Some(path) if !heading.is_empty() => {
                    let known = headings.get(path.as_str());
                    if !known.is_some_and(|known| known.contains(heading)) {
                        fail(format!("{path} has no heading `#{heading}`"));
                    }
                }
                Some(_) => {}
            }
        }
    }
    findings.extend(missing_in_summary(&pages));
    findings
}

fn missing_in_summary(pages: &[&TextFile]) -> Vec<Finding> {
    let text = pages.iter().find(|page| page.path == SUMMARY).map_or("", |page| &page.text);
    let listed: Vec<String> =
        links(text).into_iter().filter_map(|link| resolve(SUMMARY, &text[link.target])).collect();
    let times = |page: &TextFile| listed.iter().filter(|path| **path == page.path).count();
    pages
        .iter()
        .filter(|page| is_in_book(&page.path) && times(page) != 1)
        .map(|page| {
            let advice = format!("{SUMMARY} lists this page {} times: list it once", times(page));
            Finding::failure(&page.path, 1, "summary", advice)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{SUMMARY, TextFile, columns, link_targets, readmes};

    fn findings(readme: Option<&str>, library: &str) -> usize {
        let file =
            |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
        let mut files = vec![file("crates/a/Cargo.toml", ""), file("crates/a/src/lib.rs", library)];
        files.extend(readme.map(|text| file("crates/a/README.md", text)));
        readmes(&files).len()
    }

    #[test]
    fn a_readme_has_an_example_that_is_run() {
        let (readme, library) =
            ("# a\n```rust,no_run\nf();\n```\n", "#![doc = include_str!(\"../README.md\")]\n");
        assert_eq!(findings(Some(readme), library), 0);
        assert_eq!(
            findings(
                Some(readme),
                "//! doc\n#[doc = include_str!(\"../README.md\")]\nstruct Readme;\n"
            ),
            0
        );
        assert_eq!(findings(None, library), 1);
        assert_eq!(findings(Some("# a\n```text\n```\n"), library), 1);
        assert_eq!(findings(Some("# a\n```rust,ignore\n```\n"), library), 1);
        assert_eq!(
            findings(Some(readme), "//! doc\n// #![doc = include_str!(\"../README.md\")]\n"),
            1
        );
    }

    fn lines(path: &str, text: &str) -> Vec<usize> {
        columns(path, text).into_iter().map(|finding| finding.line).collect()
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

    fn advice(pages: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<TextFile> = pages
            .iter()
            .map(|(path, text)| TextFile { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        let mut paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        paths.push("crates/a/picture.png".to_owned());
        link_targets(&files, &paths).into_iter().map(|finding| finding.advice).collect()
    }

    #[test]
    fn a_link_names_a_file_and_a_heading_that_exist() {
        let of = |text: &str| {
            advice(&[("README.md", text), ("docs/a.md", "# One two\n"), (SUMMARY, "[a](a.md)\n")])
        };
        for good in [
            "[a](docs/a.md#one-two) [b](docs) [c](crates/a/picture.png) [d](https://x.y/z#no)",
            "# Here\n[a](#here)",
        ] {
            assert!(of(good).is_empty(), "{good}: {:?}", of(good));
        }
        assert_eq!(of("[a](doc/a.md)"), ["`doc/a.md` names no file of the repository"]);
        assert_eq!(of("[a](../x)"), ["`../x` names no file of the repository"]);
        assert_eq!(of("[a](docs/a.md#two)"), ["docs/a.md has no heading `#two`"]);
        assert_eq!(of("[a](#gone)"), ["README.md has no heading `#gone`"]);
    }

    #[test]
    fn the_summary_lists_every_page_once() {
        let of =
            |summary: &str| advice(&[("docs/a.md", ""), ("docs/dev/b.md", ""), (SUMMARY, summary)]);
        assert!(of("[a](a.md)\n[b](dev/b.md)\n").is_empty());
        assert_eq!(of("[a](a.md)\n"), ["docs/SUMMARY.md lists this page 0 times: list it once"]);
        assert_eq!(of("[a](a.md)\n[a](a.md)\n[b](dev/b.md)\n").len(), 1);
    }
}
