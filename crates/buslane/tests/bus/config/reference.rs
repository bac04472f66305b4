//! The documented keys, defaults and variables are those of the code.

use buslane::config::{Config, DeadLetterFormat, Terminal};
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
        Terminal::DeadLetter { topic: String::new(), format: DeadLetterFormat::default() };
    leaves("terminal.", &serde_json::to_value(&config).unwrap()["terminal"], &mut real);
    config.terminal = Terminal::ParkTo { topic: String::new() };
    leaves("terminal.", &serde_json::to_value(&config).unwrap()["terminal"], &mut real);

    // Those that have no default stand in a full section alone. Properties have the names of
    // librdkafka.
    real.remove("kafka.security");
    let mut full = BTreeMap::new();
    let kafka = Config::parse_yaml(super::kafka::YAML).unwrap().kafka;
    leaves("kafka.", &serde_json::to_value(&kafka).unwrap(), &mut full);
    real.remove("nats.security");
    let nats = Config::parse_yaml(super::nats::YAML).unwrap().nats;
    leaves("nats.", &serde_json::to_value(&nats).unwrap(), &mut full);
    full.extend(super::nats::KEYS.map(|key| (key.to_owned(), String::new())));
    full.extend(["rollout.plan", "rollout.token"].map(|key| (key.to_owned(), String::new())));
    full.extend(
        ["memory", "kafka", "nats"]
            .map(|backend| (format!("{backend}.actor_pool.percent"), String::new())),
    );
    let operations = Config::parse_yaml(super::operations::YAML).unwrap();
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

/// Every key stands on the page, those of the pools once for all backends.
#[test]
fn s1_the_page_has_a_row_for_every_key() {
    let page = Config::reference_markdown();
    for row in Config::reference() {
        let (section, below) = row.key.split_once('.').unwrap_or((&row.key, ""));
        let section = if below.contains("_pool.") { "BACKEND" } else { section };
        let key = if below.is_empty() { section.to_owned() } else { format!("{section}.{below}") };
        assert_eq!(page.matches(&format!("\n| `{key}` |")).count(), 1, "{key}");
    }
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
