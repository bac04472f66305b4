//! `cargo xtask book`: the pages below `docs/`, with the README before them, as one mdBook site
//! below the target folder.
//!
//! The pages are written for the repository, so a link may lead to a source file. In the site such
//! a link leads to the repository. `cargo xtask tidy` checks the links. `cargo xtask pages` writes
//! the generated pages.

use std::fs;
use std::path::PathBuf;

use xtask_base::process::{Result, cargo, command, root, run as run_command, write_file};
use xtask_base::tools;
use xtask_base::workspace::{Metadata, repository};

use super::markdown::{is_external, links, resolve};

/// The order of the pages; its links are relative to it, as those of any other page.
pub(crate) const SUMMARY: &str = "docs/SUMMARY.md";
const VERSION: &str = "0.5.4";

/// Whether a file of the repository is a page of `docs/`.
pub(crate) fn is_page(path: &str) -> bool {
    path.starts_with("docs/") && path.ends_with(".md") && path != SUMMARY
}

/// Builds the site anew.
pub(crate) fn book() -> Result<()> {
    let target = Metadata::of_workspace()?.target_directory;
    let program = tools::cargo_tool("mdbook", VERSION, &["--no-default-features"], &target)?;
    let book = target.join("book");
    if book.exists() {
        fs::remove_dir_all(&book)?;
    }
    let summary = fs::read_to_string(root().join(SUMMARY))?;
    let pages: Vec<String> = links(&summary)
        .into_iter()
        .filter_map(|link| resolve(SUMMARY, &summary[link.target]))
        .collect();
    let repository = repository()?;
    let source = book.join("src");
    // The folders of the repository stay, so links between pages need no change.
    for page in &pages {
        let text = fs::read_to_string(root().join(page))
            .map_err(|error| format!("{SUMMARY} lists {page}: {error}"))?;
        write_file(
            &source.join(page),
            &with_links(page, &text, |path| in_site(path, &pages, &repository)),
        )?;
    }
    let moved = with_links(SUMMARY, &summary, |path| Some(path.to_owned()));
    write_file(&source.join("SUMMARY.md"), &moved)?;
    for picture in pictures()? {
        fs::copy(root().join(&picture), source.join(&picture))?;
    }
    write_file(&book.join("book.toml"), &config(&repository))?;
    run_command(command(program).arg("build").arg(&book))?;
    println!("{}", book.join("html").join("index.html").display());
    Ok(())
}

/// Where a link to this path of the repository leads; `None` leaves it as it is.
fn in_site(path: &str, pages: &[String], repository: &str) -> Option<String> {
    let is_in_site = pages.iter().any(|page| page == path) || path.ends_with(".svg");
    let kind = if root().join(path).is_dir() { "tree" } else { "blob" };
    (!is_in_site).then(|| format!("{repository}/{kind}/main/{path}"))
}

/// The text with the targets that `change` maps; headings behind `#` stay.
fn with_links(page: &str, text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let mut changed = text.to_owned();
    // From the end, so that the places before stay right.
    for link in links(text).into_iter().rev() {
        let target = &text[link.target.clone()];
        let file = target.split('#').next().unwrap_or_default();
        if is_external(target) || file.is_empty() {
            continue;
        }
        if let Some(new) = resolve(page, file).and_then(|path| change(&path)) {
            let end = link.target.start + file.len();
            changed.replace_range(link.target.start..end, &new);
        }
    }
    changed
}

/// The pictures of the pages.
fn pictures() -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for entry in fs::read_dir(root().join("docs"))? {
        let name = entry?.file_name();
        if name.to_string_lossy().ends_with(".svg") {
            pictures.push(PathBuf::from("docs").join(name));
        }
    }
    Ok(pictures)
}

fn config(repository: &str) -> String {
    format!(
        "[book]\ntitle = \"buslane\"\nlanguage = \"en\"\n\n[build]\nbuild-dir = \"html\"\n\
         create-missing = false\n\n[output.html]\ngit-repository-url = \"{repository}\"\n\n\
         [output.html.playground]\nrunnable = false\n"
    )
}

/// The end of the names of the tests that compare a page with the code.
const TESTS: &str = "the_documentation_page_is_generated";

/// `cargo xtask pages`: writes the pages below `docs/` that are generated from the code. The tests
/// that compare these pages with the code write them, so page and check cannot disagree.
pub(crate) fn pages() -> Result<()> {
    let mut tests =
        cargo(["test", "--package=buslane", "--features=http", "--test=bus", "--", TESTS]);
    run_command(tests.env("BUSLANE_WRITE_PAGES", "1"))
}

#[cfg(test)]
mod tests {
    use super::{in_site, with_links};

    #[test]
    fn links_that_leave_the_pages_lead_to_the_repository() {
        let pages = ["README.md".to_owned(), "docs/a.md".to_owned()];
        let text = "[a](a.md#x) [b](../README.md) [c](../xtask/src/main.rs) [d](../xtask) [e](#f) \
                    [g](https://x.y) ![h](i.svg)\n";
        let changed = with_links("docs/b.md", text, |path| in_site(path, &pages, "https://r"));
        assert_eq!(
            changed,
            "[a](a.md#x) [b](../README.md) [c](https://r/blob/main/xtask/src/main.rs) \
             [d](https://r/tree/main/xtask) [e](#f) [g](https://x.y) ![h](i.svg)\n"
        );
    }

    #[test]
    fn the_summary_moves_to_the_root() {
        let moved =
            with_links("docs/SUMMARY.md", "- [a](dev/a.md)\n- [b](../README.md)\n", |path| {
                Some(path.to_owned())
            });
        assert_eq!(moved, "- [a](docs/dev/a.md)\n- [b](README.md)\n");
    }
}
