//! `cargo xtask tidy`: the rules of this workspace that neither the compiler nor clippy knows.
//!
//! Each rule is a function over plain values (a path and a text, or a package and its dependencies)
//! and has its own tests; this file only collects the inputs and prints what was found. It changes
//! no file.

mod code;
mod layers;
mod log_lines;
mod pages;
mod rules;
mod spec;

use std::path::{Path, PathBuf};

use xtask_base::process::{Result, capture, command, root};
use xtask_base::workspace::Metadata;

/// A broken rule and what to do about it.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    advice: String,
    /// A warning is printed and does not fail the check.
    is_warning: bool,
}

impl Finding {
    fn failure(path: &str, line: usize, rule: &'static str, advice: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, advice: advice.into(), is_warning: false }
    }

    fn warning(path: &str, line: usize, rule: &'static str, advice: impl Into<String>) -> Self {
        Self { is_warning: true, ..Self::failure(path, line, rule, advice) }
    }
}

/// A text file of the repository; the path is relative to the root, with `/` between its parts.
struct TextFile {
    path: String,
    text: String,
}

/// Checks every rule and prints all findings.
pub(crate) fn run() -> Result<()> {
    let paths = paths()?;
    let files = text_files(&paths);
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(rules::machine_words(&file.path, &file.text));
        findings.extend(rules::check(&file.path, &file.text));
        findings.extend(pages::columns(&file.path, &file.text));
    }
    findings.extend(rules::missing_pure_code(files.iter().map(|file| file.path.as_str())));
    findings.extend(pages::readmes(&files));
    findings.extend(pages::link_targets(&files, &paths));
    findings.extend(log_lines::check(&files));
    findings.extend(dependency_findings(&files)?);
    let report = spec::check(&files);
    println!("{}", report.list);
    findings.extend(report.findings);

    findings.sort_by(|a, b| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)));
    let failures = findings.iter().filter(|finding| !finding.is_warning).count();
    for finding in &findings {
        let kind = if finding.is_warning { "warning: " } else { "" };
        println!("{}:{}: {kind}{}: {}", finding.path, finding.line, finding.rule, finding.advice);
    }
    println!(
        "tidy: {} files, {failures} failures, {} warnings",
        files.len(),
        findings.len() - failures
    );
    if failures == 0 { Ok(()) } else { Err(format!("tidy: {failures} rules broken").into()) }
}

fn dependency_findings(files: &[TextFile]) -> Result<Vec<Finding>> {
    let metadata = Metadata::of_workspace()?;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let path = relative(&package.manifest_path);
        let manifest =
            files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
        let dependencies: Vec<layers::Dependency<'_>> = package
            .dependencies
            .iter()
            .map(|dependency| layers::Dependency {
                name: &dependency.name,
                is_dev: dependency.kind.as_deref() == Some("dev"),
            })
            .collect();
        findings.extend(layers::check(&package.name, &dependencies, &path, manifest));
    }
    Ok(findings)
}

/// Every file that git tracks or would track.
fn paths() -> Result<Vec<String>> {
    let names = capture(command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut paths: Vec<String> =
        names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.dedup();
    // One that was removed, and not yet from git's list.
    paths.retain(|path| root().join(path).exists());
    Ok(paths)
}

/// Those files that are text.
fn text_files(paths: &[String]) -> Vec<TextFile> {
    let read = |path: &String| {
        let text = std::fs::read_to_string(root().join(path)).ok()?;
        Some(TextFile { path: path.clone(), text })
    };
    paths.iter().filter_map(read).collect()
}

fn relative(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root()).unwrap_or(path).to_path_buf();
    path.to_string_lossy().replace('\\', "/")
}
