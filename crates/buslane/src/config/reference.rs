//! Generates `docs/configuration.md`: the prose of `page.md`, with tables made from the definitions
//! of the settings.

use super::{Config, KeyReference, environment::CONFIG_FILE};
use std::fmt::Write as _;

/// One environment variable that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VariableReference {
    /// Its name.
    pub name: &'static str,
    /// Its allowed values.
    pub kind: String,
    /// The key that it sets.
    pub sets: String,
}

pub(super) fn variables() -> Vec<VariableReference> {
    let kind = "path of a file".to_owned();
    let sets = "the file that is read first".to_owned();
    let mut list = vec![VariableReference { name: CONFIG_FILE, kind, sets }];
    for KeyReference { key, kind, variables, .. } in Config::reference() {
        let is_switch = kind == "`true` or `false`";
        let kind = if is_switch { "`true`, `false`, `1` or `0`".to_owned() } else { kind };
        for name in variables {
            let sets = match key.split_once(".actor_pool.") {
                Some((_, key)) if name.starts_with("BUSLANE_") => {
                    format!("`actor_pool.{key}` of every backend")
                }
                _ => format!("`{key}`"),
            };
            if list.iter().all(|other| other.name != name) {
                list.push(VariableReference { name, kind: kind.clone(), sets });
            }
        }
    }
    list.sort_by_key(|variable| !variable.name.starts_with("BUSLANE_"));
    list
}

pub(super) fn markdown() -> String {
    let mut page = String::new();
    for line in include_str!("page.md").lines() {
        match line.strip_prefix("{{settings: ").and_then(|rest| rest.strip_suffix("}}")) {
            Some(keys) => settings_table(&mut page, &keys.split(' ').collect::<Vec<_>>()),
            None if line == "{{variables}}" => variables_table(&mut page),
            None => row(&mut page, format_args!("{line}")),
        }
    }
    page
}

/// The keys that begin with one of `starts`. Keys of the pools are listed once for all backends.
fn settings_table(page: &mut String, starts: &[&str]) {
    row(page, format_args!("| Key | Value | Default | Meaning |\n|---|---|---|---|"));
    for KeyReference { key, kind, default, meaning, .. } in Config::reference() {
        let key = match key.split_once('.') {
            Some(("memory", pool)) if pool.contains("_pool.") => format!("BACKEND.{pool}"),
            Some((_, pool)) if pool.contains("_pool.") => continue,
            _ => key,
        };
        if starts.iter().any(|start| key.starts_with(start)) {
            let default = if default.is_empty() { default } else { format!("`{default}`") };
            row(page, format_args!("| `{key}` | {kind} | {default} | {meaning} |"));
        }
    }
}

fn variables_table(page: &mut String) {
    row(page, format_args!("| Variable | Value | Sets |\n|---|---|---|"));
    for VariableReference { name, kind, sets } in variables() {
        row(page, format_args!("| `{name}` | {kind} | {sets} |"));
    }
}

fn row(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}
