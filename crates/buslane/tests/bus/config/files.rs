//! YAML, TOML and rules.

use super::{NONE, table};
use buslane::config::{Config, ConfigError, DeadLetterFormat, LaneMode, LaneScope, Terminal};
use std::{path::PathBuf, time::Duration};

const YAML: &str = "
url: kafka://one:9092,two:9092
group: billing
topics: [orders, payments]
publish_timeout: 2m
publish_fast_path: 0s
shutdown_deadline: 1h
lane_scope: topic
retry: { attempts: 8, initial: 250ms, max: 45s, jitter: false }
terminal:
  dead_letter: { topic: orders.dlq, format: document }
memory:
  partitions: 3
  max_messages: 10
  max_bytes: 4096
kafka:
  keyed_pool:
    worker_count: 64
    queue_size: 20
    wait_timeout: 1500ms
    lane_limit: 7
    max_bytes: 1000000
    failing_messages: 11
    failing_bytes: 2000000
    mode: fixed
  actor_pool:
    enabled: true
    pool_size: 16
    inbox_size: 9
    max_restarts: 0
    restart_window: 10s
    cool_down: 5s
";

const TOML: &str = r#"
url = "kafka://one:9092,two:9092"
group = "billing"
topics = ["orders", "payments"]
publish_timeout = "2m"
publish_fast_path = "0s"
shutdown_deadline = "1h"
lane_scope = "topic"
retry = { attempts = 8, initial = "250ms", max = "45s", jitter = false }
terminal.dead_letter = { topic = "orders.dlq", format = "document" }
memory = { partitions = 3, max_messages = 10, max_bytes = 4096 }

[kafka.keyed_pool]
worker_count = 64
queue_size = 20
wait_timeout = "1500ms"
lane_limit = 7
max_bytes = 1000000
failing_messages = 11
failing_bytes = 2000000
mode = "fixed"

[kafka.actor_pool]
enabled = true
pool_size = 16
inbox_size = 9
max_restarts = 0
restart_window = "10s"
cool_down = "5s"
"#;

/// Writes a file for one test and names it.
fn file(name: &str, text: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn s1_yaml_and_toml_say_the_same() {
    let config = Config::parse_yaml(YAML).unwrap();
    assert_eq!(config, Config::parse_toml(TOML).unwrap());
    assert_eq!(config.url.expose(), "kafka://one:9092,two:9092");
    assert_eq!((config.group.as_str(), config.lane_scope), ("billing", LaneScope::Topic));
    assert_eq!(config.topics, ["orders", "payments"]);
    assert_eq!(config.publish_timeout, Duration::from_secs(120));
    assert_eq!(config.publish_fast_path, Duration::ZERO);
    assert_eq!(config.shutdown_deadline, Duration::from_secs(3600));
    assert_eq!((config.retry.attempts, config.retry.jitter), (8, false));
    assert_eq!(
        (config.retry.initial, config.retry.max),
        (Duration::from_millis(250), Duration::from_secs(45))
    );
    let Terminal::DeadLetter { topic, format } = &config.terminal else {
        panic!("{:?}", config.terminal)
    };
    assert_eq!((topic.as_str(), *format), ("orders.dlq", DeadLetterFormat::Document));
    assert_eq!(
        (config.memory.partitions, config.memory.max_messages, config.memory.max_bytes),
        (3, 10, 4096)
    );
    let keyed = &config.kafka.keyed_pool;
    assert_eq!(
        (keyed.worker_count, keyed.queue_size, keyed.lane_limit, keyed.mode),
        (64, 20, 7, LaneMode::Fixed)
    );
    assert_eq!(
        (keyed.max_bytes, keyed.failing_messages, keyed.failing_bytes),
        (1_000_000, 11, 2_000_000)
    );
    assert_eq!(keyed.wait_timeout, Duration::from_millis(1500));
    let actor = &config.kafka.actor_pool;
    assert_eq!(
        (actor.enabled, actor.pool_size, actor.inbox_size, actor.max_restarts),
        (true, 16, 9, 0)
    );
    assert_eq!(
        (actor.restart_window, actor.cool_down),
        (Duration::from_secs(10), Duration::from_secs(5))
    );
    assert_eq!(config.nats, Config::default().nats, "what a file leaves out keeps its default");
}

#[test]
fn s1_files_are_read_by_their_extension() {
    let expected = Config::parse_yaml(YAML).unwrap();
    for (name, text) in [("good.yaml", YAML), ("good.yml", YAML), ("good.toml", TOML)] {
        assert_eq!(Config::from_file(file(name, text.as_bytes())).unwrap(), expected, "{name}");
    }
    for text in ["", "# nothing\n", "memory:\n"] {
        assert_eq!(Config::parse_yaml(text).unwrap(), Config::default(), "{text:?}");
    }
    assert_eq!(Config::parse_toml("").unwrap(), Config::default());
    assert_eq!(Config::load_with(NONE).unwrap(), Config::default());
}

#[test]
fn s1_files_that_cannot_be_read_are_named() {
    let text = |result: Result<Config, ConfigError>| result.unwrap_err().to_string();
    let bad = text(Config::from_file("settings.json"));
    assert_eq!(bad, "settings.json: a configuration file must end in .yaml, .yml or .toml");
    let bad = text(Config::from_file("/no/such/buslane.yaml"));
    assert!(
        bad.starts_with("/no/such/buslane.yaml: cannot read the configuration file: "),
        "{bad}"
    );
    let bad = text(Config::from_file(env!("CARGO_TARGET_TMPDIR")));
    assert!(bad.ends_with("a configuration file must end in .yaml, .yml or .toml"), "{bad}");
    let bad = text(Config::from_file(file("latin1.toml", b"group = \"caf\xe9\"")));
    assert!(bad.contains("latin1.toml: cannot read the configuration file: "), "{bad}");
    let path = file("bad.yaml", b"group: a\nretry: { attempts: many }\n");
    let bad = text(Config::from_file(&path));
    let place = "line 2, column 20: retry.attempts: must be a whole number, 0 or more";
    assert_eq!(bad, format!("{} {place}", path.display()));
    let bad = text(Config::load_with(&|name| {
        (name == "BUSLANE_CONFIG").then(|| path.clone().into_os_string())
    }));
    assert!(bad.ends_with(place), "{bad}");
    let bad = text(Config::load_with(&table(&["BUSLANE_CONFIG="])));
    assert_eq!(bad, "environment variable BUSLANE_CONFIG: must name a file, found \"\"");
}

#[test]
fn s1_bad_yaml_is_refused_with_key_and_reason() {
    const DURATION: &str =
        "must be a whole number and a unit of h, m, s, ms, us or ns, such as 500ms or 30s";
    const WHOLE: &str = "must be a whole number, 0 or more";
    const DEAD_LETTER: &str = "such as `terminal: { dead_letter: { topic: orders.dlq } }`";
    for (text, expected) in [
        (
            "memory: {keyed_pool: {worker_count: -1}}",
            format!("37: memory.keyed_pool.worker_count: {WHOLE}"),
        ),
        (
            "memory: {keyed_pool: {queue_size: many}}",
            format!("35: memory.keyed_pool.queue_size: {WHOLE}"),
        ),
        ("nats: {actor_pool: {pool_size: 1.5}}", format!("32: nats.actor_pool.pool_size: {WHOLE}")),
        ("retry: {jitter: 1}", "17: retry.jitter: must be true or false".into()),
        ("group:", "6: group: must have a value".into()),
        ("group: [a]", "8: group: must be a text".into()),
        ("topics: orders", "9: topics: must be a list".into()),
        ("- a", "1: must be a table of keys and values".into()),
        (
            "lane_scope: both",
            "13: lane_scope: unknown variant `both`, expected one of key, topic".into(),
        ),
        (
            "terminal: {dead_letter: {}}",
            format!("12: terminal.dead_letter: missing field `topic`, {DEAD_LETTER}"),
        ),
        (
            "terminal: dead_letter",
            format!(
                "11: terminal.dead_letter: must be a table that names the topic, {DEAD_LETTER}"
            ),
        ),
        (
            "terminal: { dead_letter: orders.dlq }",
            format!(
                "13: terminal.dead_letter: must be a table that names the topic, {DEAD_LETTER}"
            ),
        ),
        ("terminal: {skip: {}}", "18: terminal.skip: takes no settings of its own".into()),
        (
            "publish_timeout: 10",
            format!("18: publish_timeout: {DURATION}, found 10 without a unit"),
        ),
        (
            "publish_timeout: -10",
            format!("18: publish_timeout: {DURATION}, found -10 without a unit"),
        ),
        (
            "publish_timeout: 0.5",
            format!("18: publish_timeout: {DURATION}, found 0.5 without a unit"),
        ),
        ("retry: {max: 1m30s}", format!("14: retry.max: {DURATION}, found \"1m30s\"")),
        ("retry: {max: ten}", format!("14: retry.max: {DURATION}, found \"ten\"")),
        (
            "retry: {max: 99999999h}",
            "14: retry.max: is too long: at most 584 years, found \"99999999h\"".into(),
        ),
        (
            "url: http://host",
            "6: url: must begin with memory://, kafka:// or nats://, found \"http://host\"".into(),
        ),
        (
            "url: memory://x",
            "6: url: memory:// takes nothing behind it, found \"memory://x\"".into(),
        ),
        ("url: kafka://", "6: url: kafka:// needs a host behind it, found \"kafka://\"".into()),
    ] {
        let error = Config::parse_yaml(text).unwrap_err();
        assert_eq!(error.to_string(), format!("YAML line 1, column {expected}"), "{text:?}");
        assert!(matches!(error, ConfigError::Text { line: 1, .. }), "{error:?}");
    }
    let inside = Config::parse_yaml("group: a\nterminal: dead_letter\nretry:\n  attempts: 3\n")
        .unwrap_err()
        .to_string();
    assert!(
        inside.starts_with("YAML line 2, column 11: terminal.dead_letter: must be a table"),
        "{inside}"
    );
    let twice = Config::parse_yaml("group: a\ngroup: b").unwrap_err().to_string();
    assert_eq!(twice, "YAML line 2, column 1: group is set twice");
    let two = Config::parse_yaml("group: a\n---\ngroup: b").unwrap_err().to_string();
    assert!(two.ends_with("more than one YAML document"), "{two}");
}

#[test]
fn s1_bad_toml_is_refused_with_key_and_reason() {
    for (text, expected) in [
        (
            "[memory.keyed_pool]\nqueue_size = -1",
            "TOML line 2, column 14: memory.keyed_pool.queue_size: invalid value: integer `-1`, expected a whole number, 0 or more",
        ),
        (
            "retry.attempts = \"5\"",
            "TOML line 1, column 18: retry.attempts: invalid type: string \"5\", expected a whole number, 0 or more",
        ),
        (
            "memory = 5",
            "TOML line 1, column 10: memory: invalid type: integer `5`, expected a table of keys and values",
        ),
        (
            "terminal = \"dead_letter\"",
            "TOML line 1, column 13: terminal.dead_letter: must be a table that names the topic, such as `terminal.dead_letter.topic = \"orders.dlq\"`",
        ),
        ("group = \"a\"\ngroup = \"b\"", "TOML line 2, column 1: duplicate key"),
    ] {
        assert_eq!(Config::parse_toml(text).unwrap_err().to_string(), expected, "{text:?}");
    }
}

#[test]
fn s1_unknown_keys_are_refused_at_every_level() {
    for path in [
        "colour",
        "retry.colour",
        "memory.colour",
        "kafka.keyed_pool.colour",
        "nats.actor_pool.colour",
    ] {
        let yaml = path.replace('.', ": {") + ": 1" + &"}".repeat(path.matches('.').count());
        for result in [Config::parse_yaml(&yaml), Config::parse_toml(&format!("{path} = 1"))] {
            let text = result.unwrap_err().to_string();
            assert!(
                text.contains(&format!("{path}: unknown field `colour`, expected one of")),
                "{text}"
            );
        }
    }
}

#[test]
fn s1_rules_name_the_key() {
    let refused = |text: &str| Config::parse_yaml(text).unwrap_err().to_string();
    for backend in ["memory", "kafka", "nats"] {
        for (pool, keys) in [
            (
                "keyed_pool",
                "worker_count queue_size lane_limit max_bytes failing_messages failing_bytes",
            ),
            (
                "actor_pool",
                "pool_size inbox_size lane_limit max_bytes failing_messages failing_bytes",
            ),
        ] {
            for key in keys.split(' ') {
                let text = refused(&format!("{backend}: {{{pool}: {{{key}: 0}}}}"));
                assert_eq!(text, format!("{backend}.{pool}.{key}: must be at least 1, found 0"));
            }
        }
    }
    for (text, expected) in [
        ("memory: {partitions: 0}", "memory.partitions: must be at least 1, found 0"),
        ("memory: {partitions: 4097}", "memory.partitions: must be at most 4096, found 4097"),
        ("memory: {max_messages: 0}", "memory.max_messages: must be at least 1, found 0"),
        ("memory: {max_bytes: 0}", "memory.max_bytes: must be at least 1, found 0"),
        (
            "nats: {keyed_pool: {worker_count: 65537}}",
            "nats.keyed_pool.worker_count: must be at most 65536, found 65537",
        ),
        (
            "nats: {actor_pool: {inbox_size: 16777216}}",
            "nats.actor_pool.inbox_size: times pool_size (256) must be at most 4294967295, found 16777216",
        ),
        (
            "kafka: {actor_pool: {restart_window: 0s}}",
            "kafka.actor_pool.restart_window: must be more than zero, found 0s",
        ),
        (
            "kafka: {actor_pool: {cool_down: 0ms}}",
            "kafka.actor_pool.cool_down: must be more than zero, found 0s",
        ),
        ("retry: {attempts: 0}", "retry.attempts: must be at least 1, found 0"),
        ("retry: {initial: 0s}", "retry.initial: must be more than zero, found 0s"),
        ("retry: {max: 50ms}", "retry.max: must be at least retry.initial (100ms), found 50ms"),
        ("publish_timeout: 0s", "publish_timeout: must be more than zero, found 0s"),
        (
            "publish_fast_path: 1m",
            "publish_fast_path: must be at most publish_timeout (10s), found 1m",
        ),
        ("group: '  '", "group: must not be blank, found \"  \""),
        ("topics: [a, b, a]", "topics[2]: must differ from topics[0], found \"a\""),
        (
            "topics: [a b]",
            "topics[0]: must be a topic name: allowed are A-Z a-z 0-9 . _ -, found \"a b\"",
        ),
        (
            "terminal: {dead_letter: {topic: ''}}",
            "terminal.dead_letter.topic: must be a topic name: a topic needs a name, found \"\"",
        ),
    ] {
        assert_eq!(refused(text), expected, "{text:?}");
    }
}
