//! The documented keys, defaults and variables are those of the code.

use buslane::config::{Config, DeadLetterFormat, TerminalConfig};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet, path::Path};

/// Key path and value of every leaf.
fn leaves(prefix: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(&format!("{prefix}{key}."), value, found);
            }
        }
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            found.insert(prefix.trim_end_matches('.').to_owned(), text);
        }
    }
}

#[test]
fn s1_reference_lists_exactly_the_keys_and_defaults_of_the_code() {
    let mut real = BTreeMap::new();
    let mut config = Config::default();
    leaves("", &serde_json::to_value(&config).unwrap(), &mut real);
    // What follows from the program is no value of the page.
    assert_ne!(real.insert("group".to_owned(), String::new()), Some(String::new()));
    // The keys of the one choice that has settings of its own.
    config.terminal =
        TerminalConfig::DeadLetter { topic: String::new(), format: DeadLetterFormat::default() };
    leaves("terminal.", &serde_json::to_value(&config).unwrap()["terminal"], &mut real);

    // Those that have no default stand in a full section alone. Properties have the names of
    // librdkafka.
    real.remove("kafka.security");
    let mut full = BTreeMap::new();
    let kafka = Config::parse_yaml(crate::kafka::YAML).unwrap().kafka;
    leaves("kafka.", &serde_json::to_value(&kafka).unwrap(), &mut full);
    real.remove("nats.security");
    let nats = Config::parse_yaml(crate::nats::YAML).unwrap().nats;
    leaves("nats.", &serde_json::to_value(&nats).unwrap(), &mut full);
    full.extend(crate::nats::KEYS.map(|key| (key.to_owned(), String::new())));
    full.extend(["rollout.plan", "rollout.token"].map(|key| (key.to_owned(), String::new())));
    full.extend(
        ["memory", "kafka", "nats"]
            .map(|backend| (format!("{backend}.actor_pool.percent"), String::new())),
    );
    let operations = Config::parse_yaml(crate::operations::YAML).unwrap();
    leaves("limits.", &serde_json::to_value(&operations.limits).unwrap(), &mut full);
    full.extend(["per_second", "burst"].map(|key| (format!("recovery.rate.{key}"), String::new())));
    // The login that the full section does not have.
    full.insert("kafka.security.login.token_file".to_owned(), String::new());
    full.retain(|key, _| {
        !key.starts_with("kafka.properties.") && !key.starts_with("limits.topics.")
    });
    for key in full.into_keys() {
        real.entry(key).or_default();
    }

    let listed: Vec<_> = Config::reference();
    let keys: BTreeSet<_> = listed.iter().map(|row| row.key.clone()).collect();
    assert_eq!(keys.len(), listed.len(), "a key is listed once");
    assert_eq!(keys, real.keys().cloned().collect());
    for row in &listed {
        assert_eq!(row.default, real[&row.key], "{}", row.key);
        assert!(row.meaning.ends_with('.') && !row.kind.is_empty(), "{}", row.key);
    }
}

#[test]
fn s1_reference_lists_exactly_the_variables_that_are_read() {
    let asked = RefCell::new(BTreeSet::new());
    let note = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    Config::load_with(&note).unwrap();
    let listed: BTreeSet<_> =
        Config::variables().iter().map(|variable| variable.name.to_owned()).collect();
    assert_eq!(listed, *asked.borrow());
    let of_keys: BTreeSet<_> = Config::reference()
        .iter()
        .flat_map(|row| row.variables.clone())
        .map(str::to_owned)
        .collect();
    let mut without_file = listed;
    without_file.remove("BUSLANE_CONFIG");
    assert_eq!(of_keys, without_file);
}

/// The comment on each field says the default that it really has.
#[test]
fn s1_field_comments_say_the_real_defaults() {
    let prefixes = [
        ("Config", ""),
        ("RetryConfig", "retry."),
        ("LimitsConfig", "limits."),
        ("BacklogConfig", "backlog."),
        ("RecoveryConfig", "recovery."),
        ("HealthConfig", "health."),
        ("ProbeConfig", "health.probe."),
        ("RolloutConfig", "rollout."),
        ("MemoryConfig", "memory."),
        ("KafkaConfig", "kafka."),
        ("KafkaTopicConfig", "kafka.create_missing."),
        ("KafkaConsumerConfig", "kafka.consumer."),
        ("KafkaProducerConfig", "kafka.producer."),
        ("KafkaTlsConfig", "kafka.security.tls."),
        ("KafkaLoginConfig", "kafka.security.login."),
        ("NatsConfig", "nats."),
        ("NatsConsumerConfig", "nats.consumer."),
        ("NatsPublisherConfig", "nats.publisher."),
        ("NatsStreamConfig", "nats.stream."),
        ("NatsTlsConfig", "nats.security.tls."),
        ("NatsLoginConfig", "nats.security.login."),
        ("KeyedPoolConfig", "memory.keyed_pool."),
        ("ActorPoolConfig", "memory.actor_pool."),
    ];
    let listed: BTreeMap<_, _> =
        Config::reference().into_iter().map(|row| (row.key, row.default)).collect();
    let mut checked = 0;
    for source in [
        "config.rs",
        "config/backends.rs",
        "config/delivery.rs",
        "config/health.rs",
        "config/kafka.rs",
        "config/kafka/consumer.rs",
        "config/kafka/producer.rs",
        "config/kafka/security.rs",
        "config/nats.rs",
        "config/nats/consumer.rs",
        "config/nats/security.rs",
        "config/operations.rs",
        "config/pools.rs",
        "config/rollout.rs",
    ] {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(source))
                .unwrap();
        let (mut prefix, mut comment) = (None, String::new());
        for line in text.lines().map(str::trim) {
            if let Some(name) =
                line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {"))
            {
                prefix =
                    prefixes.iter().find(|(known, _)| *known == name).map(|(_, prefix)| prefix);
            } else if let Some(words) = line.strip_prefix("/// ") {
                comment = comment + words + " ";
            } else if let Some(field) =
                line.strip_prefix("pub ").and_then(|rest| rest.split_once(": "))
                && let Some(default) =
                    prefix.and_then(|prefix| listed.get(&format!("{prefix}{}", field.0)))
            {
                let said =
                    comment.rsplit_once("Default: ").map_or(comment.as_str(), |(_, said)| said);
                let expected = match *default {
                    "" if said.ends_with("Required. ") => said.to_owned(),
                    "" | "[]" | "{}" => "none".to_owned(),
                    default => format!("`{default}`"),
                };
                assert!(
                    said.starts_with(&expected),
                    "{source}: {}: {said:?}, expected {expected}",
                    field.0
                );
                checked += 1;
                comment.clear();
            } else if !line.starts_with("#[") {
                comment.clear();
            }
        }
    }
    let tables = [
        "kafka.keyed_pool.",
        "kafka.actor_pool.",
        "nats.keyed_pool.",
        "nats.actor_pool.",
        "terminal.",
        "limits.publish.",
        "limits.subscribe.",
        "recovery.rate.",
    ];
    let expected =
        listed.keys().filter(|key| !tables.iter().any(|table| key.starts_with(table))).count();
    assert_eq!(checked, expected, "every key has a field with a comment");
}

#[test]
fn s1_the_documentation_page_is_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    // Set by `cargo xtask pages`.
    if std::env::var_os("BUSLANE_WRITE_PAGES").is_some() {
        std::fs::write(&path, Config::reference_markdown()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == Config::reference_markdown(),
        "docs/configuration.md is out of date: cargo xtask pages"
    );
}

#[test]
fn s1_the_examples_of_the_page_are_read_and_say_the_same() {
    let page = Config::reference_markdown();
    let block = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let config = Config::parse_yaml(&block("yaml")).unwrap();
    assert_eq!(config, Config::parse_toml(&block("toml")).unwrap());
    assert!(config.pools().use_actor);
}
