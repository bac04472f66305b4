//! Rules about the links between pages: what a link names exists, with the heading where it names
//! one, and the book's summary lists every page of `docs/` once.
//!
//! Other sites are not asked: this check needs no network.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, TextFile};
use crate::book::{SUMMARY, is_page as is_in_book};
use crate::markdown::{anchors, is_external, links, resolve};

/// Checks every Markdown file of the repository. `paths` are all its files, also those that are no
/// text.
pub(super) fn check(files: &[TextFile], paths: &[String]) -> Vec<Finding> {
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
    use super::{SUMMARY, TextFile, check};

    fn advice(pages: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<TextFile> = pages
            .iter()
            .map(|(path, text)| TextFile { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        let mut paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        paths.push("crates/a/picture.png".to_owned());
        check(&files, &paths).into_iter().map(|finding| finding.advice).collect()
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
