//! Reading YAML and TOML text.
//!
//! Errors carry place, key path and reason, but never a line of the text: the line beside a mistake
//! may hold a password.

use super::{ChosenBy, Config, ConfigError, predecessor, wording};
use buslane_core::Backend;
use serde::{Deserialize, de::DeserializeOwned};
use std::path::Path;

/// The terminal policy that has settings of its own, as each format has it.
const IN_YAML: &str = "`terminal: { dead_letter: { topic: orders.dlq } }`";
const IN_TOML: &str = "`terminal.dead_letter.topic = \"orders.dlq\"`";

/// Reads a file by its extension; rules are not checked.
pub(super) fn read(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let parse = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => yaml,
        Some("toml") => toml,
        _ => return Err(ConfigError::FileFormat { path: name }),
    };
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, Some(&name)),
        Err(error) => Err(ConfigError::File { path: name, reason: error.to_string() }),
    }
}

/// Reads YAML; rules are not checked.
pub(super) fn yaml(text: &str, file: Option<&str>) -> Result<Config, ConfigError> {
    let name = |problem| explain_dead_letter(problem, text, IN_YAML).named(file.unwrap_or("YAML"));
    overlay(text, &name, from_yaml, from_yaml)
}

/// Reads TOML; rules are not checked.
pub(super) fn toml(text: &str, file: Option<&str>) -> Result<Config, ConfigError> {
    let name = |problem| explain_dead_letter(problem, text, IN_TOML).named(file.unwrap_or("TOML"));
    overlay(text, &name, from_toml, from_toml)
}

/// Says how a dead-letter topic is given, where what stands there is not a table that names one:
/// the parser's own place is the end of the value, or of the text.
fn explain_dead_letter(problem: Problem, text: &str, example: &str) -> Problem {
    let what = match wording::plain(&problem.key, &problem.reason) {
        _ if !["terminal", "terminal.dead_letter"].contains(&&*problem.key) => return problem,
        reason if reason.contains("missing field `topic`") => "missing field `topic`",
        reason if reason.contains(wording::TABLE_KIND) => "must be a table that names the topic",
        _ => return problem,
    };
    let starts = |line: &&str| line.trim_start_matches(['[', ' ', '"']).starts_with("terminal");
    let section =
        text.lines().take_while(|line| !starts(line)).map(|line| line.len() + 1).sum::<usize>();
    let Some(at) = text.get(section..).and_then(|text| text.find("dead_letter")) else {
        return problem;
    };
    let (line, column) = place(text, section + at);
    Problem {
        line,
        column,
        key: "terminal.dead_letter".to_owned(),
        reason: format!("{what}, such as {example}"),
    }
}

fn overlay(
    text: &str,
    name: &dyn Fn(Problem) -> ConfigError,
    config: fn(&str) -> Result<Config, Problem>,
    switches: fn(&str) -> Result<Switches, Problem>,
) -> Result<Config, ConfigError> {
    let mut config = config(text).map_err(name)?;
    let switches = switches(text).map_err(name)?;
    for (backend, section) in [
        (Backend::Memory, switches.memory),
        (Backend::Kafka, switches.kafka),
        (Backend::Nats, switches.nats),
    ] {
        if let Some(value) = section.actor_pool.enabled {
            config.origins.record_enabled(backend, value, ChosenBy::File);
        }
        if let Some(value) = section.actor_pool.percent {
            config.origins.record_percent(backend, value, ChosenBy::File);
        }
    }
    if let Some(plan) = &switches.rollout.plan {
        config.origins.record_plan(plan, ChosenBy::File);
    }
    Ok(config)
}

/// The switches of each backend, and whether the text sets them at all.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Switches {
    memory: Section,
    kafka: Section,
    nats: Section,
    rollout: Begin,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Begin {
    plan: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Section {
    actor_pool: Switch,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Switch {
    enabled: Option<bool>,
    percent: Option<u8>,
}

/// What a parser met.
struct Problem {
    line: u64,
    column: u64,
    key: String,
    reason: String,
}

impl Problem {
    fn named(self, source_name: &str) -> ConfigError {
        let reason = if let Some(instead) =
            predecessor::replacement(&self.key).filter(|_| self.reason.contains("unknown field"))
        {
            instead.to_owned()
        } else {
            wording::plain(&self.key, &self.reason)
        };
        ConfigError::Text {
            source_name: source_name.to_owned(),
            line: self.line,
            column: self.column,
            key: self.key,
            reason,
        }
    }
}

fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let problem = |error: &toml::de::Error, key| {
        let (line, column) = error.span().map_or((0, 0), |span| place(text, span.start));
        Problem { line, column, key, reason: error.message().to_owned() }
    };
    let source = toml::Deserializer::parse(text).map_err(|error| problem(&error, String::new()))?;
    serde_path_to_error::deserialize(source)
        .map_err(|error| problem(error.inner(), key_path(error.path())))
}

fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let mut key = String::new();
    let result = serde_saphyr::with_deserializer_from_str(text, |source| {
        serde_path_to_error::deserialize(source).map_err(|error| {
            key = key_path(error.path());
            error.into_inner()
        })
    });
    result.map_err(|error| {
        let error = error.without_snippet();
        let (line, column) =
            error.location().map_or((0, 0), |location| (location.line(), location.column()));
        Problem { line, column, key, reason: error.to_string() }
    })
}

fn key_path(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        unknown if unknown == "." || unknown == "?" => String::new(),
        path => path,
    }
}

/// Line and column, from 1, of a byte index.
fn place(text: &str, index: usize) -> (u64, u64) {
    let before = text.get(..index).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() as u64 + 1, before[line_start..].chars().count() as u64 + 1)
}
