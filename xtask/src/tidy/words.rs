//! Words that must not stand in any file of the repository: they belong to one machine and say
//! nothing to a reader elsewhere.
//!
//! The words are built from parts, because this file is checked too.

use super::Finding;

/// Finds paths of one machine and the hosts behind a registry.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let folders = ["work", "root"].map(|name| format!("/{name}/"));
    let hosts = ["static", "index"].map(|name| format!("{name}.crates{}", ".io"));
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let in_folder = |folder: &&String| {
            line.match_indices(folder.as_str()).any(|(at, _)| is_path_start(&line[..at]))
        };
        let words = folders
            .iter()
            .filter(in_folder)
            .chain(hosts.iter().filter(|host| line.contains(host.as_str())));
        for word in words {
            let advice = format!(
                "`{word}` belongs to one machine: say it without, or relative to the repository"
            );
            findings.push(Finding::failure(path, number + 1, "machine-word", advice));
        }
    }
    findings
}

/// Whether a `/` after this text begins an absolute path rather than going on with a relative one.
fn is_path_start(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')'))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn machine_words_are_found_in_every_file() {
        let path = |name: &str| format!("see /{name}/notes\n");
        for text in [path("work"), path("root"), format!("https://static.crates{}/x\n", ".io")] {
            assert_eq!(check("docs/a.md", &text).len(), 1, "{text}");
        }
        for text in ["frame/work/x", "../root/x", "https://crates.io/x", "/workers/", "~/rooted/"] {
            assert!(check("docs/a.md", text).is_empty(), "{text}");
        }
    }
}
