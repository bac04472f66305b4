//! Generates `docs/configuration.md`: the prose of `page.md`, with tables made from the definitions
//! of the settings.

use super::{
    Config, KeyReference,
    environment::{VariableReference, variables},
};
use std::fmt::Write as _;

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
