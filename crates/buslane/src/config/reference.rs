//! The list of all keys and variables, and the page that is made from it.
//!
//! Tests hold the list against the structs: same keys, same defaults.

mod kafka;

use super::environment::{ANY, CONFIG, OWN, PoolVariables, URL};
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
    ("url", "`memory://`, `kafka://HOST:PORT,...` or `nats://HOST:PORT,...`", "memory://", "The broker."),
    ("group", "text", "buslane", "Consumer group, or durable consumer, that this process reads as."),
    (
        "topics",
        "list of topic names",
        "[]",
        "Topics announced before their handlers; their messages are held until one subscribes.",
    ),
    ("publish_timeout", DURATION, "10s", "Longest wait of a publish until the broker has acknowledged it; above zero."),
    (
        "publish_fast_path",
        DURATION,
        "100ms",
        "How long a publish waits for room before it counts as held back; at most `publish_timeout`.",
    ),
    ("shutdown_deadline", DURATION, "30s", "How long a shutdown drains before it leaves the rest for redelivery."),
    (
        "lane_scope",
        "`key` or `topic`",
        "key",
        "Whether a lane holds a key's messages of all topics, or of one topic alone.",
    ),
    ("retry.attempts", COUNT, "5", "Attempts of an envelope in all, the first one included; at least 1."),
    ("retry.initial", DURATION, "100ms", "Wait before the second attempt; above zero. It doubles with each failure."),
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
    ("terminal.dead_letter.topic", "topic name", "", "The dead-letter topic; required with `dead_letter`."),
    (
        "terminal.dead_letter.format",
        "`headers` or `document`",
        "headers",
        "The original message with headers that say where it came from and why, or one JSON document.",
    ),
];

const MEMORY: &[Row] = &[
    ("partitions", COUNT, "8", "Partitions of a topic that is created by its first use; 1 to 4096."),
    (
        "max_messages",
        COUNT,
        "65536",
        "Most messages that a partition holds; when they are unsettled, publishers wait; at least 1.",
    ),
    ("max_bytes", BYTES, "67108864", "Most bytes that a partition holds; a larger message is refused; at least 1."),
];

const KEYED_POOL: &[Row] = &[
    ("worker_count", COUNT, "256", "Handlers that run at the same time; 1 to 65536."),
    (
        "queue_size",
        COUNT,
        "1000",
        "Messages per worker: the pool holds `worker_count` x `queue_size` open messages; at least 1.",
    ),
    WAIT_TIMEOUT,
    LANE_LIMIT,
    MAX_BYTES,
    PARKED_MESSAGES,
    PARKED_BYTES,
    (
        "mode",
        "`exclusive` or `fixed`",
        "exclusive",
        "A lane of its own for each key with work, or as many lanes as workers, chosen by hash.",
    ),
];

const ACTOR_POOL: &[Row] = &[
    ("enabled", "`true` or `false`", "false", "Whether this pool runs the lanes instead of the keyed pool."),
    ("pool_size", COUNT, "256", "Actors, each of which runs one handler at a time; 1 to 65536."),
    (
        "inbox_size",
        COUNT,
        "1000",
        "Messages per actor: the pool holds `pool_size` x `inbox_size` open messages; at least 1.",
    ),
    ("max_restarts", COUNT, "3", "Restarts that one actor is given within `restart_window`; 0 means none."),
    ("restart_window", DURATION, "1m", "Window in which restarts are counted; above zero."),
    (
        "cool_down",
        DURATION,
        "30s",
        "How long an actor that used up its restarts stays out before it is tried again; above zero.",
    ),
    WAIT_TIMEOUT,
    LANE_LIMIT,
    MAX_BYTES,
    PARKED_MESSAGES,
    PARKED_BYTES,
];

const WAIT_TIMEOUT: Row = (
    "wait_timeout",
    DURATION,
    "500ms",
    "How long a submission waits for room before the broker is told to stop reading.",
);
const LANE_LIMIT: Row = ("lane_limit", COUNT, "1000", "Most open messages of one lane; at least 1.");
const MAX_BYTES: Row =
    ("max_bytes", BYTES, "201326592", "Most bytes of all open messages that are not parked; at least 1.");
const PARKED_MESSAGES: Row =
    ("parked_messages", COUNT, "64000", "Most messages that wait behind failing keys, counted apart; at least 1.");
const PARKED_BYTES: Row =
    ("parked_bytes", BYTES, "67108864", "Most bytes that wait behind failing keys, counted apart; at least 1.");

type VariableName = fn(&PoolVariables) -> &'static str;

/// The variables that set a key of an actor pool, with what they may hold.
const VARIABLES: [(&str, VariableName, &str); 4] = [
    ("enabled", |names| names.use_actor, "`true`, `false`, `1` or `0`"),
    ("pool_size", |names| names.size, "1 to 65536"),
    ("inbox_size", |names| names.inbox, "1 or more"),
    ("max_restarts", |names| names.restarts, "0 or more"),
];

pub(super) fn keys() -> Vec<KeyReference> {
    let mut keys = Vec::new();
    for row in BUS {
        let variables = if row.0 == "url" { vec![URL] } else { Vec::new() };
        keys.push(reference("", row, variables));
    }
    keys.extend(MEMORY.iter().map(|row| reference("memory.", row, Vec::new())));
    keys.extend(kafka::KAFKA.iter().map(|row| reference("kafka.", row, Vec::new())));
    for (backend, own) in &OWN {
        keys.extend(KEYED_POOL.iter().map(|row| reference(&format!("{backend}.keyed_pool."), row, Vec::new())));
        keys.extend(ACTOR_POOL.iter().map(|row| {
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
        VariableReference { name: CONFIG, kind: "path of a file", sets: "the file that is read first".to_owned() },
        VariableReference { name: URL, kind: BUS[0].1, sets: "`url`".to_owned() },
    ];
    for (key, name, kind) in VARIABLES {
        let sets = format!("`actor_pool.{key}` of every backend");
        list.push(VariableReference { name: name(&ANY), kind, sets });
    }
    for (backend, own) in &OWN {
        for (key, name, kind) in VARIABLES {
            list.push(VariableReference { name: name(own), kind, sets: format!("`{backend}.actor_pool.{key}`") });
        }
    }
    list
}

const HEAD: &str = r#"<!-- Generated: cargo run -p buslane --example configuration_reference > docs/configuration.md -->

# Configuration

A value comes from the default, then the file, then the environment, then code; the later one wins.
`Config::load()` reads the file that `BUSLANE_CONFIG` names (`.yaml`, `.yml` or `.toml`) when it is set, then the
environment; `Config::from_env()` reads the environment alone. Nothing else reads it.

An unknown key, a value of the wrong kind and a variable that cannot be read are errors at start that name the key
or the variable; nothing falls back to a default in silence. A variable of a backend that the URL does not name is
an error only when the URL comes to name it.

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
runs them when `BACKEND.actor_pool.enabled` is true; the bus logs the choice, and who made it, once at its start.
";

pub(super) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    table(&mut page, "The bus", "", "", BUS);
    table(&mut page, "The embedded broker", "", "memory.", MEMORY);
    table(&mut page, "Kafka", kafka::NOTES, "kafka.", kafka::KAFKA);
    table(&mut page, "The keyed-worker pool", POOLS, "BACKEND.keyed_pool.", KEYED_POOL);
    table(&mut page, "The actor pool", "", "BACKEND.actor_pool.", ACTOR_POOL);
    page.push_str("\n## Environment\n\n");
    page.push_str("A variable with a backend's prefix wins over the one with `BUSLANE_` for that backend.\n\n");
    page.push_str("| Variable | Value | Sets |\n|---|---|---|\n");
    for VariableReference { name, kind, sets } in variables() {
        line(&mut page, format_args!("| `{name}` | {kind} | {sets} |"));
    }
    page
}

fn table(page: &mut String, title: &str, text: &str, prefix: &str, rows: &[Row]) {
    line(page, format_args!("\n## {title}\n{text}\n| Key | Value | Default | Meaning |\n|---|---|---|---|"));
    for (key, kind, default, meaning) in rows {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        line(page, format_args!("| `{prefix}{key}` | {kind} | {default} | {meaning} |"));
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}
