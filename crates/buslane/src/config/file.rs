//! Reads YAML and TOML, and words the errors of their parsers for people who know neither them nor
//! Rust.
//!
//! An error has the place, the path of the key and the reason, but never a line of the text: it may
//! hold a password.

use super::{ChosenBy, Config, ConfigError, url};
use buslane_core::Backend;
use serde::{Deserialize, de::DeserializeOwned};
use std::path::Path;

/// The one terminal policy with settings of its own, in each format.
const IN_YAML: &str = "`terminal: { dead_letter: { topic: orders.dlq } }`";
const IN_TOML: &str = "`terminal.dead_letter.topic = \"orders.dlq\"`";

const WHOLE: &str = "must be a whole number, 0 or more";
/// Percentages are the only settings of type `u8`.
const PERCENT: &str = "must be a whole number from 0 to 100";
const TABLE: &str = "must be a table of keys and values";
const TABLE_KIND: &str = "a table of keys and values";

/// Sections in which a misplaced value may be a secret, so errors do not show it.
const SECRETS: [&str; 3] = ["kafka.security", "kafka.properties", "rollout.token"];

/// A parser's text that begins as on the left is replaced by the right; others stay.
const BEGINNINGS: [(&str, &str); 14] = [
    ("invalid floating point", "must be a number"),
    ("invalid u8", PERCENT),
    ("invalid u64", WHOLE),
    ("invalid u32", WHOLE),
    ("invalid u16", WHOLE),
    ("invalid boolean", "must be true or false"),
    ("expected mapping start", TABLE),
    ("expected sequence start", "must be a list"),
    ("expected string scalar", "must be a text"),
    ("cannot deserialize null into string", "must have a value"),
    ("unexpected value for unit enum variant", "takes no settings of its own"),
    ("invalid type: unit variant, expected struct variant", TABLE),
    ("multiple YAML documents detected", "more than one YAML document"),
    ("duplicate mapping key: ", "is set twice"),
];

/// What a parser expected: its words, and ours.
const EXPECTED: [(&str, &str); 10] = [
    ("f64", "a number"),
    ("u8", "a whole number from 0 to 100"),
    ("usize", "a whole number, 0 or more"),
    ("u64", "a whole number, 0 or more"),
    ("u32", "a whole number, 0 or more"),
    ("u16", "a whole number, 0 or more"),
    ("a string", "a text"),
    ("a map", TABLE_KIND),
    ("a sequence", "a list"),
    ("a boolean", "true or false"),
];

/// Keys of the predecessor, by their last part, and their replacements.
const PREDECESSOR: [(&str, &str); 11] = [
    ("required_acks", "is not a setting: every publish waits for all in-sync replicas"),
    ("flush_frequency", "is kafka.producer.linger now"),
    ("flush_messages", "is kafka.producer.batch_bytes now, a number of bytes"),
    ("retry_max", "is kafka.producer.retries now"),
    ("timeout", "is publish_timeout now"),
    ("batch_size", "is kafka.producer.batch_bytes now, a number of bytes"),
    ("group_id", "is group now, beside kafka"),
    ("auto_offset_reset", "is kafka.consumer.offset_reset now, earliest or latest"),
    ("buffer_size", "is kafka.producer.queue_messages and kafka.consumer.prefetch_messages now"),
    // The predecessor meant the wait for room, not the time of a handler.
    ("max_processing_time", "is wait_timeout of kafka.keyed_pool and kafka.actor_pool now"),
    (
        "net",
        "is kafka.connect_timeout (dial_timeout) and kafka.request_timeout (read_timeout, write_timeout) now",
    ),
];

/// Reads a file in the format of its extension, without checking rules.
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

/// Reads YAML, without checking rules.
pub(super) fn yaml(text: &str, file: Option<&str>) -> Result<Config, ConfigError> {
    let name = |problem| explain_dead_letter(problem, text, IN_YAML).named(file.unwrap_or("YAML"));
    overlay(text, &name, from_yaml, from_yaml)
}

/// Reads TOML, without checking rules.
pub(super) fn toml(text: &str, file: Option<&str>) -> Result<Config, ConfigError> {
    let name = |problem| explain_dead_letter(problem, text, IN_TOML).named(file.unwrap_or("TOML"));
    overlay(text, &name, from_toml, from_toml)
}

/// Explains how to name a dead-letter topic when the value is not a table that does. It also
/// corrects the place: the parser names the end of the value, or of the text.
fn explain_dead_letter(problem: Problem, text: &str, example: &str) -> Problem {
    let what = match plain(&problem.key, &problem.reason) {
        _ if !["terminal", "terminal.dead_letter"].contains(&&*problem.key) => return problem,
        reason if reason.contains("missing field `topic`") => "missing field `topic`",
        reason if reason.contains(TABLE_KIND) => "must be a table that names the topic",
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

/// The values that decide where keys begin, where the text sets them.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Switches {
    memory: Section,
    kafka: Section,
    nats: Section,
    rollout: RolloutSection,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RolloutSection {
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

/// An error of a parser.
struct Problem {
    line: u64,
    column: u64,
    key: String,
    reason: String,
}

impl Problem {
    fn named(self, source_name: &str) -> ConfigError {
        let reason = if let Some(instead) =
            replacement(&self.key).filter(|_| self.reason.contains("unknown field"))
        {
            instead.to_owned()
        } else {
            plain(&self.key, &self.reason)
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

/// The reason of an error at `key`, on one line, without place and secrets.
fn plain(key: &str, reason: &str) -> String {
    let reason = reason.trim_end().replace('\n', "; ");
    let reason = match reason.rfind(" at line ") {
        Some(at) => &reason[..at],
        None => &reason,
    };
    // The check of the key `url` hides its secrets itself; elsewhere a URL is a mistake.
    let reason =
        if key != "url" && reason.contains("://") { url::hide(reason) } else { reason.to_owned() };
    if let Some((start, ours)) = BEGINNINGS.iter().find(|(start, _)| reason.starts_with(start)) {
        return match reason[start.len()..].split_once(", set ") {
            Some((name, _)) if start.ends_with(": ") => format!("{name} {ours}"),
            _ => (*ours).to_owned(),
        };
    }
    let secret =
        SECRETS.iter().any(|section| key.starts_with(section)) && reason.starts_with("invalid ");
    let said = |found: &str, expected: &str| match secret {
        true => format!("must be {expected}"),
        false => format!("{found}, expected {expected}"),
    };
    if let Some((found, expected)) = reason.rsplit_once(", expected ") {
        if expected.starts_with("struct ") {
            return said(found, TABLE_KIND);
        }
        if let Some((_, ours)) = EXPECTED.iter().find(|(theirs, _)| *theirs == expected) {
            return said(found, ours);
        }
        if secret {
            return said(found, expected);
        }
    }
    reason
}

/// The replacement of an unknown key that the predecessor had.
fn replacement(key: &str) -> Option<&'static str> {
    let key = key.strip_prefix("kafka.")?;
    let last =
        key.strip_prefix("consumer.").or_else(|| key.strip_prefix("producer.")).unwrap_or(key);
    let last = last.split('.').next()?;
    PREDECESSOR.iter().find(|(old, _)| *old == last).map(|(_, instead)| *instead)
}
