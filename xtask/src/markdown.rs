//! What the commands read of a Markdown page: its links and the anchors of its headings.
//!
//! A scanner, not a parser: it knows code blocks, code spans, links, reference definitions and the
//! `src` and `href` of HTML. A link whose target stands on another line than its text is found, a
//! target that is itself broken over two lines is not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A link of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Where its target stands in the text.
    pub(crate) target: Range<usize>,
}

/// Every link of a page, in the order of the text.
pub(crate) fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (number, start, line) in prose(text) {
        let blanked = without_code(line);
        let definition = blanked.trim_start().starts_with('[').then_some("]: ");
        for (opening, closing) in [("](", ")"), ("src=\"", "\""), ("href=\"", "\"")]
            .into_iter()
            .chain(definition.map(|it| (it, " ")))
        {
            for (at, _) in blanked.match_indices(opening) {
                let from = at + opening.len();
                let rest = &blanked[from..];
                let length = rest.find(closing).unwrap_or(rest.len());
                // A title may follow: `(target "title")`.
                let length = rest[..length].find(' ').unwrap_or(length);
                links.push(Link { line: number, target: start + from..start + from + length });
            }
        }
    }
    links.sort_by_key(|link| link.target.start);
    links
}

/// The anchors that a page's headings get on GitHub and in the book.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for (_, _, line) in prose(text) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ') else { continue };
        if !line.starts_with('#') {
            continue;
        }
        let anchor = anchor(title.trim());
        let count = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// The path in the repository that a link of `page` names; `None` where it leaves the repository.
pub(crate) fn resolve(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Whether a target leads to another site.
pub(crate) fn is_external(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// Number, place and text of each line that stands in no code block.
fn prose(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let (mut start, mut is_code) = (0, false);
    text.split_inclusive('\n').enumerate().filter_map(move |(at, line)| {
        let from = start;
        start += line.len();
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then(|| (at + 1, from, line.trim_end()))
    })
}

/// The line with its code spans blanked, of the same length.
fn without_code(line: &str) -> String {
    let mut parts = line.split('`');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut is_code = true;
    for part in parts {
        out.push('`');
        if is_code {
            out.extend(std::iter::repeat_n(' ', part.len()));
        } else {
            out.push_str(part);
        }
        is_code = !is_code;
    }
    out
}

fn anchor(title: &str) -> String {
    // Of a link, the heading has only the text.
    let mut text = String::new();
    let mut rest = title;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
            _ => None,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{anchors, links, resolve};

    fn targets(text: &str) -> Vec<(usize, &str)> {
        links(text).into_iter().map(|link| (link.line, &text[link.target])).collect()
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "[a](b.md#c) and [`d`](e \"title\")\n```\n[no](x)\n```\n`[no](x)` é [f\ng](h)\n\
                    [i]: j.md\n<img src=\"k.svg\">\n";
        assert_eq!(targets(text), [(1, "b.md#c"), (1, "e"), (6, "h"), (7, "j.md"), (8, "k.svg")]);
    }

    #[test]
    fn anchors_are_those_of_github() {
        let text =
            "# A page's `title`\n## Twice\n```\n# no\n```\n### Twice\n## [N1](x.md): é_b-c\n#no\n";
        let expected = ["a-pages-title", "n1-é_b-c", "twice", "twice-1"];
        assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn targets_are_relative_to_their_page() {
        let path = |page, target| resolve(page, target);
        assert_eq!(path("docs/a.md", "dev/b.md").as_deref(), Some("docs/dev/b.md"));
        assert_eq!(path("docs/dev/a.md", "../../crates").as_deref(), Some("crates"));
        assert_eq!(path("README.md", "./docs/").as_deref(), Some("docs"));
        assert_eq!(path("README.md", "../x"), None);
    }
}
