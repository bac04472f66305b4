//! Rules about the libraries' pages: each README shows a Rust example, and each crate runs it as a
//! doctest.
//!
//! Whether the example compiles is for `cargo test` to say.

use super::{Finding, TextFile};

/// Checks the README and the library root of every crate below `crates/`.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
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

#[cfg(test)]
mod tests {
    use super::{TextFile, check};

    fn findings(readme: Option<&str>, library: &str) -> usize {
        let file =
            |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
        let mut files = vec![file("crates/a/Cargo.toml", ""), file("crates/a/src/lib.rs", library)];
        files.extend(readme.map(|text| file("crates/a/README.md", text)));
        check(&files).len()
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
}
