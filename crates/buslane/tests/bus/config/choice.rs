//! Which pool runs the lanes, and who decided it.

use super::{NONE, table};
use buslane::config::{ChosenBy, Config, ConfigError};
use std::{ffi::OsString, path::PathBuf};

const ON: &str = "memory: {actor_pool: {enabled: true}}";
const OFF: &str = "memory: {actor_pool: {enabled: false}}";

fn chosen(config: &Config) -> (bool, String) {
    let pools = config.pools();
    (pools.use_actor, pools.chosen_by.to_string())
}

#[test]
fn s1_default_is_the_keyed_pool() {
    assert_eq!(chosen(&Config::default()), (false, "default".into()));
    assert_eq!(
        chosen(&Config::parse_yaml("memory: {actor_pool: {pool_size: 3}}").unwrap()),
        (false, "default".into())
    );
    for url in ["kafka://h:9092", "nats://h"] {
        assert_eq!(chosen(&Config::new(url).unwrap()), (false, "default".into()));
    }
}

#[test]
fn s1_file_then_environment_then_code() {
    let toml = |value| Config::parse_toml(&format!("memory.actor_pool.enabled = {value}")).unwrap();
    for (file, value) in [(ON, true), (OFF, false)] {
        assert_eq!(chosen(&Config::parse_yaml(file).unwrap()), (value, "file".into()));
        assert_eq!(chosen(&toml(value)), (value, "file".into()));
    }
    for (file, list, expected) in [
        (ON, &["BUSLANE_USE_ACTOR_POOL=false"][..], (false, "environment BUSLANE_USE_ACTOR_POOL")),
        (ON, &["MEMORY_USE_ACTOR_POOL=0"], (false, "environment MEMORY_USE_ACTOR_POOL")),
        (OFF, &["BUSLANE_USE_ACTOR_POOL=1"], (true, "environment BUSLANE_USE_ACTOR_POOL")),
        (
            OFF,
            &["BUSLANE_USE_ACTOR_POOL=false", "MEMORY_USE_ACTOR_POOL=true"],
            (true, "environment MEMORY_USE_ACTOR_POOL"),
        ),
        (ON, &["KAFKA_USE_ACTOR_POOL=false"], (true, "file")),
        ("", &["NATS_USE_ACTOR_POOL=true"], (false, "default")),
    ] {
        let mut config = Config::parse_yaml(file).unwrap().with_variables(&table(list)).unwrap();
        assert_eq!(chosen(&config), (expected.0, expected.1.into()), "{file:?} {list:?}");
        config.memory.actor_pool.enabled = !expected.0;
        assert_eq!(chosen(&config), (!expected.0, "code".into()));
    }
}

#[test]
fn s1_load_reads_the_file_and_then_the_environment() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("load.yaml");
    std::fs::write(
        &path,
        "group: billing\nkafka: {actor_pool: {enabled: true, pool_size: 7, inbox_size: 8}}\n",
    )
    .unwrap();
    let variables = |name: &str| match name {
        "BUSLANE_CONFIG" => Some(path.clone().into_os_string()),
        "BUSLANE_URL" => Some(OsString::from("kafka://h:9092")),
        "KAFKA_ACTOR_POOL_SIZE" => Some(OsString::from("70")),
        _ => None,
    };
    let config = Config::load_with(&variables).unwrap();
    assert_eq!((config.group.as_str(), config.url.expose()), ("billing", "kafka://h:9092"));
    assert_eq!(chosen(&config), (true, "file".into()));
    assert_eq!((config.kafka.actor_pool.pool_size, config.kafka.actor_pool.inbox_size), (70, 8));
}

#[test]
fn s1_each_backend_has_a_switch_of_its_own() {
    let file = "{kafka: {actor_pool: {enabled: true}}, nats: {actor_pool: {enabled: false}}}";
    let mut config = Config::parse_yaml(file).unwrap();
    for (url, expected) in [
        ("memory://", (false, "default")),
        ("kafka://h:9092", (true, "file")),
        ("nats://h", (false, "file")),
    ] {
        config.url = url.parse().unwrap();
        assert_eq!(chosen(&config), (expected.0, expected.1.into()), "{url}");
    }
}

/// The same configuration holds the settings of both pools; the switch alone turns from one to the
/// other and back.
#[test]
fn s2_the_other_pool_stays_ready() {
    let file = "memory: {keyed_pool: {worker_count: 3, queue_size: 4}, actor_pool: {pool_size: 5, inbox_size: 6}}";
    let before = Config::parse_yaml(file).unwrap().with_variables(NONE).unwrap().pools();
    let on = Config::parse_yaml(file)
        .unwrap()
        .with_variables(&table(&["MEMORY_USE_ACTOR_POOL=true"]))
        .unwrap()
        .pools();
    let off = Config::parse_yaml(file)
        .unwrap()
        .with_variables(&table(&["MEMORY_USE_ACTOR_POOL=false"]))
        .unwrap()
        .pools();
    assert_eq!((before.use_actor, on.use_actor, off.use_actor), (false, true, false));
    assert_eq!(off.chosen_by, ChosenBy::Environment("MEMORY_USE_ACTOR_POOL"));
    for pools in [&before, &on, &off] {
        assert_eq!((pools.keyed.worker_count, pools.keyed.queue_size), (3, 4));
        assert_eq!((pools.actor.pool_size, pools.actor.inbox_size), (5, 6));
        assert_eq!(pools.actor.enabled, pools.use_actor);
    }
    assert_eq!(before.keyed, on.keyed);
}

/// As [`Config::load`], from a file of this name with this text.
fn load(name: &str, text: &str, list: &'static [&'static str]) -> Result<Config, ConfigError> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    let variables = table(list);
    Config::load_with(&|name| {
        if name == "BUSLANE_CONFIG" { Some(path.clone().into()) } else { variables(name) }
    })
}

fn share(config: &Config) -> (u8, String) {
    let pools = config.pools();
    (pools.percent, pools.percent_by.to_string())
}

#[test]
fn s3_a_pool_that_is_enabled_has_every_key_unless_it_is_told_otherwise() {
    assert_eq!(share(&Config::default()), (0, "default".into()));
    for (file, list, expected) in [
        (ON, &[][..], (100, "file")),
        (OFF, &[], (0, "file")),
        ("", &["MEMORY_USE_ACTOR_POOL=true"], (100, "environment MEMORY_USE_ACTOR_POOL")),
        ("memory: {actor_pool: {enabled: true, percent: 10}}", &[], (10, "file")),
        ("memory: {actor_pool: {enabled: true, percent: 0}}", &[], (0, "file")),
        ("memory: {actor_pool: {percent: 0}}", &[], (0, "file")),
        (ON, &["BUSLANE_ACTOR_POOL_PERCENT=50"], (50, "environment BUSLANE_ACTOR_POOL_PERCENT")),
        (
            "memory: {actor_pool: {enabled: true, percent: 10}}",
            &["BUSLANE_ACTOR_POOL_PERCENT=50", "MEMORY_ACTOR_POOL_PERCENT=0"],
            (0, "environment MEMORY_ACTOR_POOL_PERCENT"),
        ),
        (
            "memory: {actor_pool: {percent: 50}}",
            &["MEMORY_USE_ACTOR_POOL=true", "KAFKA_ACTOR_POOL_PERCENT=7"],
            (50, "file"),
        ),
    ] {
        let mut config = load("share.yaml", file, list).unwrap();
        assert_eq!(share(&config), (expected.0, expected.1.into()), "{file:?} {list:?}");
        assert_eq!(config.memory.actor_pool.share(), expected.0);
        config.memory.actor_pool.enabled = true;
        config.memory.actor_pool.percent = Some(33);
        assert_eq!(share(&config), (33, "code".into()));
    }
    let toml = Config::parse_toml(
        "kafka.actor_pool = { enabled = true, percent = 100 }\nurl = \"kafka://h:9092\"",
    )
    .unwrap();
    assert_eq!(share(&toml), (100, "file".into()));
}

#[test]
fn s3_a_share_for_a_pool_that_is_not_enabled_is_refused_by_both_names() {
    for (file, list, expected) in [
        (
            "memory: {actor_pool: {percent: 10}}",
            &[][..],
            "memory.actor_pool.percent: must be 0 while memory.actor_pool.enabled is false, found 10",
        ),
        // Of a backend that is not in use, too, as every rule of a file.
        (
            "nats: {actor_pool: {enabled: false, percent: 1}}",
            &[],
            "nats.actor_pool.percent: must be 0 while nats.actor_pool.enabled is false, found 1",
        ),
        (
            "memory: {actor_pool: {enabled: true, percent: 10}}",
            &["BUSLANE_USE_ACTOR_POOL=false"],
            "memory.actor_pool.percent: must be 0 while BUSLANE_USE_ACTOR_POOL sets memory.actor_pool.enabled to false, found 10",
        ),
        (
            OFF,
            &["MEMORY_ACTOR_POOL_PERCENT=50"],
            "environment variable MEMORY_ACTOR_POOL_PERCENT: must be 0 while memory.actor_pool.enabled is false, found \"50\"",
        ),
        (
            "",
            &["MEMORY_ACTOR_POOL_PERCENT=50", "MEMORY_USE_ACTOR_POOL=false"],
            "environment variable MEMORY_ACTOR_POOL_PERCENT: must be 0 while MEMORY_USE_ACTOR_POOL sets memory.actor_pool.enabled to false, found \"50\"",
        ),
    ] {
        let error = load("refused_share.yaml", file, list).unwrap_err().to_string();
        assert_eq!(error, expected, "{file:?} {list:?}");
    }
    // What a variable makes of another backend waits until that one is used.
    let list = &["BUSLANE_ACTOR_POOL_PERCENT=50", "KAFKA_USE_ACTOR_POOL=true"];
    let config = Config::new("kafka://h:9092").unwrap().with_variables(&table(list)).unwrap();
    assert_eq!(share(&config), (50, "environment BUSLANE_ACTOR_POOL_PERCENT".into()));
    let error = Config::default().with_variables(&table(list)).unwrap_err().to_string();
    assert!(
        error
            .starts_with("environment variable BUSLANE_ACTOR_POOL_PERCENT: must be 0 while memory"),
        "{error}"
    );
    let mut config = Config::default();
    config.memory.actor_pool.percent = Some(1);
    assert!(config.validate().is_err());
}

#[test]
fn s3_a_share_is_a_whole_number_of_percent() {
    for (yaml, toml) in [("101", "101"), ("255", "255")] {
        let expected = format!("memory.actor_pool.percent: must be from 0 to 100, found {yaml}");
        let text = format!("memory: {{actor_pool: {{enabled: true, percent: {yaml}}}}}");
        assert_eq!(Config::parse_yaml(&text).unwrap_err().to_string(), expected);
        let text = format!("memory.actor_pool = {{ enabled = true, percent = {toml} }}");
        assert_eq!(Config::parse_toml(&text).unwrap_err().to_string(), expected);
    }
    for value in ["300", "-1", "0.5", "ten", ""] {
        let text = format!("memory: {{actor_pool: {{enabled: true, percent: {value}}}}}");
        let error = Config::parse_yaml(&text).unwrap_err().to_string();
        assert!(error.contains("actor_pool.percent: "), "{value:?}: {error}");
        assert!(error.ends_with(" a whole number from 0 to 100"), "{value:?}: {error}");
    }
    for value in ["300", "-1", "0.5", "\"10\""] {
        let text = format!("memory.actor_pool = {{ enabled = true, percent = {value} }}");
        let error = Config::parse_toml(&text).unwrap_err().to_string();
        assert!(error.ends_with(" a whole number from 0 to 100"), "{value:?}: {error}");
    }
    for list in [
        &["MEMORY_ACTOR_POOL_PERCENT=101"][..],
        &["MEMORY_ACTOR_POOL_PERCENT=-1"],
        &["MEMORY_ACTOR_POOL_PERCENT="],
    ] {
        let error = Config::default().with_variables(&table(list)).unwrap_err().to_string();
        let rule = "environment variable MEMORY_ACTOR_POOL_PERCENT: must be a whole number from 0 to 100, found";
        assert!(error.starts_with(rule), "{error}");
    }
}
