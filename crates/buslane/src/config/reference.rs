//! The list of all keys and variables, and the page that is made from it.
//!
//! Tests hold the list against the structs: same keys, same defaults.

mod health;
mod kafka;
mod nats;
mod operations;
mod pools;
mod rollout;

use super::environment::{
    ANY, CONFIG, GROUP, HEALTH_MEMORY, HEALTH_PROBE, OWN, PoolVariables, RECOVERY_AT_START,
    RECOVERY_KEYS, RECOVERY_ON_BACKLOG, RECOVERY_RATE, ROLLOUT_ADVANCE, ROLLOUT_PLAN,
    ROLLOUT_TOKEN, URL,
};
use std::fmt::Write as _;

/// One key that a file may set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyReference {
    /// Its path, such as `memory.keyed_pool.worker_count`.
    pub key: String,
    /// What may stand there.
    pub kind: &'static str,
    /// The default as a file would say it, in JSON for lists; empty where there is none.
    pub default: &'static str,
    /// Variables that set it, the one that wins first.
    pub variables: Vec<&'static str>,
    /// What it means.
    pub meaning: &'static str,
}

/// One environment variable that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VariableReference {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: &'static str,
    /// What it sets.
    pub sets: String,
}

/// Key, kind, default, meaning.
type Row = (&'static str, &'static str, &'static str, &'static str);

const DURATION: &str = "duration";
const COUNT: &str = "integer";
const BYTES: &str = "integer, bytes";

const BUS: &[Row] = &[
    (
        "url",
        "`memory://`, `kafka://HOST:PORT,...` or `nats://HOST:PORT,...`",
        "memory://",
        "The broker.",
    ),
    (
        "group",
        "text",
        "",
        "Consumer group, or durable consumer, that this process reads as. Default: the name of the program's file, in which everything but ASCII letters, digits, `.`, `_` and `-` becomes `-`.",
    ),
    (
        "topics",
        "list of topic names",
        "[]",
        "Topics announced before their handlers; their messages are held until one subscribes.",
    ),
    (
        "publish_timeout",
        DURATION,
        "10s",
        "Longest wait of a publish until the broker has acknowledged it; above zero.",
    ),
    (
        "publish_fast_path",
        DURATION,
        "100ms",
        "How long a publish waits for room before it counts as held back; at most `publish_timeout`.",
    ),
    (
        "shutdown_deadline",
        DURATION,
        "30s",
        "How long a shutdown drains before it leaves the rest for redelivery.",
    ),
    (
        "lane_scope",
        "`key` or `topic`",
        "key",
        "Whether a lane holds a key's messages of all topics, or of one topic alone.",
    ),
    (
        "retry.attempts",
        COUNT,
        "5",
        "Attempts of an envelope in all, the first one included; at least 1.",
    ),
    (
        "retry.initial",
        DURATION,
        "100ms",
        "Wait before the second attempt; above zero. It doubles with each failure.",
    ),
    (
        "retry.max",
        DURATION,
        "30s",
        "Longest wait between two attempts, and the wait of a blocked key; at least `retry.initial`.",
    ),
    ("retry.jitter", "`true` or `false`", "true", "Whether waits are spread at random."),
    (
        "terminal",
        "`block`, `skip` or a table `dead_letter`",
        "block",
        "What becomes of an envelope whose last attempt failed: its key waits, it is settled and logged, or it is written to a dead-letter topic.",
    ),
    (
        "terminal.dead_letter.topic",
        "topic name",
        "",
        "The dead-letter topic; required with `dead_letter`.",
    ),
    (
        "terminal.dead_letter.format",
        "`headers` or `document`",
        "headers",
        "The original message with headers that say where it came from and why, or one JSON document.",
    ),
];

const MEMORY: &[Row] = &[
    (
        "partitions",
        COUNT,
        "8",
        "Partitions of a topic that is created by its first use; 1 to 4096.",
    ),
    (
        "max_messages",
        COUNT,
        "65536",
        "Most messages that a partition holds; when it is full, publishers wait, also where nothing reads the topic; at least 1.",
    ),
    (
        "max_bytes",
        BYTES,
        "67108864",
        "Most bytes that a partition holds; a larger message is refused; at least 1.",
    ),
    (
        "max_message_bytes",
        BYTES,
        "1048588",
        "Most bytes of one message, key and headers included; a larger one is refused; at least 1. The default is that of a Kafka broker.",
    ),
    (
        "create_missing",
        "`true` or `false`",
        "true",
        "Whether the first use of a topic creates it. Otherwise publishing to one that does not exist is refused, and so is subscribing; those under `topics` exist.",
    ),
];

type VariableName = fn(&PoolVariables) -> &'static str;

/// The variables that set a key of an actor pool, with what they may hold.
const VARIABLES: [(&str, VariableName, &str); 5] = [
    ("enabled", |names| names.use_actor, "`true`, `false`, `1` or `0`"),
    ("percent", |names| names.percent, "0 to 100"),
    ("pool_size", |names| names.size, "1 to 65536"),
    ("inbox_size", |names| names.inbox, "1 or more"),
    ("max_restarts", |names| names.restarts, "0 or more"),
];

/// Those that set a key of recovery mode.
const RECOVERY: [(&str, &str, &str); 4] = [
    ("recovery.at_start", RECOVERY_AT_START, "`auto`, `always` or `never`"),
    ("recovery.on_backlog", RECOVERY_ON_BACKLOG, "`true`, `false`, `1` or `0`"),
    ("recovery.rate.per_second", RECOVERY_RATE, "1 to 10000000"),
    ("recovery.keys", RECOVERY_KEYS, "1 or more"),
];

/// Those that set a key of health.
const HEALTH: [(&str, &str, &str); 2] = [
    ("health.memory", HEALTH_MEMORY, "0 or more, bytes"),
    ("health.probe.enabled", HEALTH_PROBE, "`true`, `false`, `1` or `0`"),
];

/// Those that set a key of the rollout.
const ROLLOUT: [(&str, &str, &str); 3] = [
    ("rollout.plan", ROLLOUT_PLAN, "stages such as `10 for 1h, 50 for 1h, 100`"),
    ("rollout.advance", ROLLOUT_ADVANCE, "`manual` or `automatic`"),
    ("rollout.token", ROLLOUT_TOKEN, "16 to 512 visible ASCII characters"),
];

pub(super) fn keys() -> Vec<KeyReference> {
    let mut keys = Vec::new();
    for row in BUS {
        let variables = match row.0 {
            "url" => vec![URL],
            "group" => vec![GROUP],
            _ => Vec::new(),
        };
        keys.push(reference("", row, variables));
    }
    for row in operations::OPERATIONS {
        let variable = RECOVERY.iter().find(|(key, ..)| *key == row.0);
        keys.push(reference("", row, variable.map_or(Vec::new(), |(_, name, _)| vec![name])));
    }
    keys.extend(health::HEALTH.iter().map(|row| {
        let variable = HEALTH.iter().find(|(key, ..)| key.strip_prefix("health.") == Some(row.0));
        reference("health.", row, variable.map_or(Vec::new(), |(_, name, _)| vec![name]))
    }));
    keys.extend(rollout::ROLLOUT.iter().map(|row| {
        let variable = ROLLOUT.iter().find(|(key, ..)| key.strip_prefix("rollout.") == Some(row.0));
        reference("rollout.", row, variable.map_or(Vec::new(), |(_, name, _)| vec![name]))
    }));
    keys.extend(MEMORY.iter().map(|row| reference("memory.", row, Vec::new())));
    keys.extend(kafka::KAFKA.iter().map(|row| reference("kafka.", row, Vec::new())));
    keys.extend(nats::NATS.iter().map(|row| reference("nats.", row, Vec::new())));
    for (backend, own) in &OWN {
        keys.extend(
            pools::KEYED
                .iter()
                .map(|row| reference(&format!("{backend}.keyed_pool."), row, Vec::new())),
        );
        keys.extend(pools::ACTOR.iter().map(|row| {
            let variable = VARIABLES.iter().find(|(key, ..)| *key == row.0);
            let variables = variable.map_or(Vec::new(), |(_, name, _)| vec![name(own), name(&ANY)]);
            reference(&format!("{backend}.actor_pool."), row, variables)
        }));
    }
    keys
}

fn reference(prefix: &str, row: &Row, variables: Vec<&'static str>) -> KeyReference {
    let &(key, kind, default, meaning) = row;
    KeyReference { key: format!("{prefix}{key}"), kind, default, variables, meaning }
}

pub(super) fn variables() -> Vec<VariableReference> {
    let mut list = vec![
        VariableReference {
            name: CONFIG,
            kind: "path of a file",
            sets: "the file that is read first".to_owned(),
        },
        VariableReference { name: URL, kind: BUS[0].1, sets: "`url`".to_owned() },
        VariableReference { name: GROUP, kind: BUS[1].1, sets: "`group`".to_owned() },
    ];
    for (key, name, kind) in RECOVERY.into_iter().chain(HEALTH).chain(ROLLOUT) {
        list.push(VariableReference { name, kind, sets: format!("`{key}`") });
    }
    for (key, name, kind) in VARIABLES {
        let sets = format!("`actor_pool.{key}` of every backend");
        list.push(VariableReference { name: name(&ANY), kind, sets });
    }
    for (backend, own) in &OWN {
        for (key, name, kind) in VARIABLES {
            list.push(VariableReference {
                name: name(own),
                kind,
                sets: format!("`{backend}.actor_pool.{key}`"),
            });
        }
    }
    list
}

const HEAD: &str = r#"<!-- Generated: cargo xtask pages -->

# Configuration

A value comes from the default, then the file, then the environment, then code; the later one wins.
`Config::load()` reads the file that `BUSLANE_CONFIG` names (`.yaml`, `.yml` or `.toml`) when it is set, then the
environment; `Config::from_env()` reads the environment alone. Nothing else reads it.

An unknown key, a value of the wrong kind and a variable that cannot be read are errors at start that name the key
or the variable; nothing falls back to a default in silence. A variable that begins with `BUSLANE_` and is not listed
here is an error too; `KAFKA_`, `NATS_` and `MEMORY_` are shared with other software, so unknown ones are left alone. A
variable of a backend that the URL does not name is an error only when the URL comes to name it.

A duration is a whole number and a unit of `h`, `m`, `s`, `ms`, `us` or `ns`, such as `500ms` or `30s`. Sizes are
whole numbers. User, password, token and query of the URL are never printed, nor are other secrets.

```yaml
url: memory://
group: billing
topics: [orders, payments]
retry: { attempts: 8, max: 1m }
terminal: { dead_letter: { topic: orders.dlq } }
memory:
  keyed_pool: { worker_count: 64 }
  actor_pool: { enabled: true }
```

The same as TOML:

```toml
url = "memory://"
group = "billing"
topics = ["orders", "payments"]
retry = { attempts = 8, max = "1m" }
terminal.dead_letter.topic = "orders.dlq"
memory.keyed_pool.worker_count = 64
memory.actor_pool.enabled = true
```
"#;

const POOLS: &str = "
`BACKEND` is `memory`, `kafka` or `nats`; the settings of the backend that the URL names are the ones in use. Both
pools are configured at all times, so that the switch alone decides which of them runs the lanes. The actor pool
runs them when `BACKEND.actor_pool.enabled` is true, those of `BACKEND.actor_pool.percent` of the keys; the bus logs the
choice, and who made it, once at its start. Which keys these are depends on their hash alone, and the keys of a smaller share
are among those of a larger one. A `percent` above 0 while `enabled` is false is an error.
";

pub(super) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    table(&mut page, "The bus", "", "", BUS);
    table(
        &mut page,
        "Flow control, backlog and recovery",
        operations::NOTES,
        "",
        operations::OPERATIONS,
    );
    table(&mut page, "Health", health::NOTES, "health.", health::HEALTH);
    table(&mut page, "Rollout", rollout::NOTES, "rollout.", rollout::ROLLOUT);
    table(&mut page, "The embedded broker", "", "memory.", MEMORY);
    table(&mut page, "Kafka", kafka::NOTES, "kafka.", kafka::KAFKA);
    table(&mut page, "NATS", nats::NOTES, "nats.", nats::NATS);
    table(&mut page, "The keyed-worker pool", POOLS, "BACKEND.keyed_pool.", pools::KEYED);
    table(&mut page, "The actor pool", "", "BACKEND.actor_pool.", pools::ACTOR);
    page.push_str("\n## Environment\n\n");
    page.push_str("A variable with a backend's prefix wins over the one with `BUSLANE_` for that backend.\n\n");
    page.push_str("| Variable | Value | Sets |\n|---|---|---|\n");
    for VariableReference { name, kind, sets } in variables() {
        line(&mut page, format_args!("| `{name}` | {kind} | {sets} |"));
    }
    page
}

fn table(page: &mut String, title: &str, text: &str, prefix: &str, rows: &[Row]) {
    line(
        page,
        format_args!(
            "\n## {title}\n{text}\n| Key | Value | Default | Meaning |\n|---|---|---|---|"
        ),
    );
    for (key, kind, default, meaning) in rows {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        line(page, format_args!("| `{prefix}{key}` | {kind} | {default} | {meaning} |"));
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}
